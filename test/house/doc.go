// Package house holds the rules of this repository that a machine can keep: who may import what and
// why, one package comment a folder, names, generated files, links, scripts, and the pieces of the
// build that must agree with each other. It has no code for the product, and nothing may import it.
//
// Every rule is a function from a tree, or from a description of one, to a list of findings. It is run on
// the repository, and on a small made-up tree that breaks it: a rule that cannot fail keeps nothing.
//
// The trap: a rule sees what git would commit, so a new file counts before it is added, and a file
// that .gitignore names never does.
package house
