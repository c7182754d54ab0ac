// Package traces runs the traces of strategies: text files in a strategy's testdata that show, tick by tick,
// what it sees, what it wants to be written and why. It is linked into tests only.
//
// A trace is for people who do not read Go. Lines that begin with # say what it shows. Then come
//
//	args: {"safeLinePermille": 700}    what the operator configured; the rest has its default
//	node: 16000 mCPU                   how large the node is
//
// and a table. Its columns are named in its first line, with their units; a pod's columns begin with the pod's name and
// a colon. An empty cell is as in the row above, "?" was not measured. "plan" is what is to be written in that tick
// ("nothing" where all is as it should be; "(300 times)" where the same is wanted of so many groups) and which pods are to be evicted, "because" the strategy's own words. What is written is in force in the
// next row, unless the row says that the kernel refuses.
//
//	time s        seconds since 09:00:00 UTC; it may go back, as clocks do
//	tick          full: everything was read. fast: only CPU and pressure were. blind: nothing can be read.
//	              missed: the strategy was not asked
//	online mCPU, system mCPU, batch mCPU
//	              CPU used since the row before by online pods, by what is outside pods and by batch, in
//	              thousandths of a core
//	batch pods    how many batch containers there are
//	held back ‰   how much of what batch could have it shall not have by order, in thousandths
//	others set    what somebody else wrote just before, as knob=value of the batch branch, or pod:knob=value
//	kernel        "refuses": what is written in this tick is refused; "lacks KNOB": from now on it has no such knob
//	P: class      what pod P is: online, batch or gone
//	P: used mCPU, P: pressure ‰, P: excess ‰, P: throttled ‰
//	              its CPU use; the share of the time in which it waited for a CPU; how far that is above what it
//	              makes for itself; and the share in which its own quota stopped it
//
// Strategies add columns of their own, which their traces explain. With -rewrite the columns plan and
// because are written anew: whoever does so reads the difference.
//
// The trap: a trace tests a strategy, not what the kernel makes of a write. test/kernel does that.
package traces
