// Command plimsoll is what operators and capacity planners run: it looks at what Plimsoll left behind
// and works out what it would do. It changes nothing but one annotation of Nodes (freeze). Each subcommand is in a file of its own.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	_ "time/tzdata" // check reads freeze windows on machines without time zones too

	"github.com/spf13/cobra"
	"golang.org/x/term"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// Exit codes. Subcommands say in their help when they use which.
const (
	exitOK = 0
	// exitFound is what a check ends with that found what it looks for.
	exitFound = 1
	// exitError is a wrong command line, or something that could not be read.
	exitError = 2
)

// errFound ends a command that has said already what it found.
var errFound = errors.New("found")

// run is main without the process.
func run(ctx context.Context, args []string, out, problems io.Writer) int {
	root := command()
	root.SetArgs(args)
	root.SetOut(out)
	root.SetErr(problems)
	err := root.ExecuteContext(ctx)
	switch {
	case err == nil:
		return exitOK
	case errors.Is(err, errFound):
		return exitFound
	default:
		fmt.Fprintln(problems, "plimsoll:", err)
		return exitError
	}
}

// command is the whole command line.
func command() *cobra.Command { return commandNamed(os.Args[0]) }

// commandNamed is the command line of a program that was started by that name: kubectl starts its plugin
// plimsoll as kubectl-plimsoll, and people call it as they write it.
func commandNamed(program string) *cobra.Command {
	root := &cobra.Command{
		Use: "plimsoll", Short: "Look into what Plimsoll does on a node, and plan what it could do",
		Long: `Look into what Plimsoll does on a node, and plan what it could do. It changes nothing, but for freeze and unfreeze.

Exit codes: 0 when a command did what it is for; 1 when a check found what it looks for, which the command's own help
explains; 2 when the command line was wrong or something could not be read. With NO_COLOR set, and where the output is no
terminal, nothing is coloured.`,
		Version: version(), SilenceUsage: true, SilenceErrors: true, Annotations: map[string]string{},
	}
	if strings.HasPrefix(filepath.Base(program), "kubectl-") {
		root.Annotations[cobra.CommandDisplayNameAnnotation] = "kubectl plimsoll"
	}
	root.AddCommand(auditCommand(), backtestCommand(), checkCommand(), explainCommand(), freezeCommand(), manCommand(), planCommand(),
		recordCommand(), reportCommand(), topCommand(), unfreezeCommand())
	return root
}

// outputFlag adds -o, and returns where its value will be.
func outputFlag(c *cobra.Command) *string {
	return c.Flags().StringP("output", "o", "text", "text or json")
}

// checkOutput refuses what is neither.
func checkOutput(output string) error {
	if output != "text" && output != "json" {
		return fmt.Errorf("--output %q: want text or json", output)
	}
	return nil
}

// paint makes text red or green where out is a terminal and NO_COLOR is not set.
func paint(out io.Writer, colour colour, text string) string {
	f, ok := out.(*os.File)
	if !ok || os.Getenv("NO_COLOR") != "" || !term.IsTerminal(int(f.Fd())) {
		return text
	}
	return string(colour) + text + "\x1b[0m"
}

// colour is the sequence that a terminal changes colour on.
type colour string

// The colours: bad news and good.
const (
	red   colour = "\x1b[31m"
	green colour = "\x1b[32m"
)

// printJSON prints what -o json prints.
func printJSON(out io.Writer, v any) error {
	e := json.NewEncoder(out)
	e.SetIndent("", "  ")
	return e.Encode(v)
}
