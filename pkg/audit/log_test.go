package audit

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// at is the time of every record of the tests.
var at = time.Date(2026, 11, 24, 22, 0, 0, 0, time.UTC)

func options(dir string) Options {
	return Options{Dir: dir, MaxFileBytes: 1 << 20, Now: func() time.Time { return at }}
}

func open1(t *testing.T, o Options) *Log {
	t.Helper()
	l, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() }) // it may be closed
	return l
}

// write makes a log of n records, and closes it.
func write(t *testing.T, o Options, n int) {
	t.Helper()
	l := open1(t, o)
	for range n {
		l.Append(entry())
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
}

func entry() Entry {
	old, wanted := "0", "1"
	return Entry{
		Time: at, Kind: KindWrite, Node: "node-7", Group: "/kubepods/plimsoll-batch", Knob: "cpu.idle",
		Old: &old, New: &wanted, ReadBack: &wanted, Strategy: "batchidle", Why: "because",
		Inputs: map[string]string{"node.milliCPU": "1500"}, ConfigHash: "abc",
	}
}

// texts are findings as they are printed, with hashes left out.
func texts(findings []Finding) []string {
	out := []string{}
	for _, f := range findings {
		words := strings.Fields(f.String())
		for i, w := range words {
			if strings.HasSuffix(strings.TrimSuffix(w, ","), "…") {
				words[i] = "HASH"
			}
		}
		out = append(out, strings.Join(words, " "))
	}
	return out
}

func verified(t *testing.T, dir string, anchors ...Anchor) *Report {
	t.Helper()
	r, err := Verify(dir, anchors...)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func wantIntact(t *testing.T, dir string, records int, notes ...string) {
	t.Helper()
	r := verified(t, dir)
	if diff := cmp.Diff([]string{}, texts(r.Problems)); diff != "" {
		t.Errorf("problems (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(append([]string{}, notes...), texts(r.Notes)); diff != "" {
		t.Errorf("notes (-want +got):\n%s", diff)
	}
	if r.Records != records {
		t.Errorf("%d records, want %d", r.Records, records)
	}
}

func TestALogIsOneChainOverAllItsFilesAndOpenings(t *testing.T) {
	o := options(t.TempDir())
	o.MaxFileBytes = 1600 // a record has between 320 and 400 bytes: five to a file
	for range 4 {
		write(t, o, 7)
	}
	files, err := listFiles(o.Dir)
	if err != nil || len(files) != 6 || files[0].first != 1 || files[1].first != 6 {
		t.Errorf("files %+v, %v, want six, the second from record 6 on", files, err)
	}
	wantIntact(t, o.Dir, 28)
}

func TestTheFirstLineIsWhatWasAppended(t *testing.T) {
	o := options(t.TempDir())
	write(t, o, 1)
	b, err := os.ReadFile(filepath.Join(o.Dir, fileName(1)))
	if err != nil {
		t.Fatal(err)
	}
	want := `{"sequence":1,"previous":"` + noHash + `","time":"2026-11-24T22:00:00Z","kind":"write","node":"node-7",` +
		`"group":"/kubepods/plimsoll-batch","knob":"cpu.idle","old":"0","new":"1","readBack":"1","strategy":"batchidle",` +
		`"why":"because","inputs":{"node.milliCPU":"1500"},"configHash":"abc"}` + "\n"
	if diff := cmp.Diff(want, string(b)); diff != "" {
		t.Errorf("line (-want +got):\n%s", diff)
	}
}

func TestOldFilesArePrunedAndTheLogSaysSo(t *testing.T) {
	o := options(t.TempDir())
	o.MaxFileBytes, o.MaxFiles = 1600, 2
	write(t, o, 16)
	files, err := listFiles(o.Dir)
	if err != nil || len(files) != 2 {
		t.Fatalf("files %+v, %v, want two", files, err)
	}
	r := verified(t, o.Dir)
	if len(r.Problems) != 0 || len(r.Notes) == 0 {
		t.Errorf("report %+v, want an intact log that tells of what was pruned", r)
	}
}

func TestATornLastLineIsKeptAndToldOf(t *testing.T) {
	for name, test := range map[string]struct {
		cut  int
		want string
	}{
		"in the middle of a line": {40, "audit-00000000000000000001.jsonl:4: repaired: audit-00000000000000000001.jsonl: the last line was torn"},
		"before the newline":      {1, "audit-00000000000000000001.jsonl:4: repaired: audit-00000000000000000001.jsonl: the last line had no newline"},
	} {
		t.Run(name, func(t *testing.T) {
			o := options(t.TempDir())
			write(t, o, 2)
			file := filepath.Join(o.Dir, fileName(1))
			third, err := encode(Record{Sequence: 3, Previous: lastOf(t, o.Dir).Hash, Entry: entry()})
			if err != nil {
				t.Fatal(err)
			}
			appendTo(t, file, string(third[:len(third)-test.cut]))
			if r := verified(t, o.Dir); len(r.Problems) == 0 {
				t.Error("a torn line that nobody told of is no problem")
			}
			write(t, o, 2)
			r := verified(t, o.Dir)
			if len(r.Problems) != 0 || len(r.Notes) != 1 || !strings.HasPrefix(texts(r.Notes)[0], test.want) {
				t.Errorf("problems %q, notes %q, want one note that begins with %q", texts(r.Problems), texts(r.Notes), test.want)
			}
		})
	}
}

func TestTheVeryFirstLineMayBeTorn(t *testing.T) {
	o := options(t.TempDir())
	appendTo(t, filepath.Join(o.Dir, fileName(1)), `{"sequence":1,"prev`)
	write(t, o, 2)
	wantIntact(t, o.Dir, 3, "audit-00000000000000000001.jsonl:2: repaired: audit-00000000000000000001.jsonl: the last line was torn (19 bytes)")
}

// What is missing at the end when the log is opened stays a gap: going on behind it must not close it.
func TestARestartDoesNotHideWhatWasCutOff(t *testing.T) {
	o := options(t.TempDir())
	write(t, o, 5)
	edit(t, o.Dir, func(lines []string) []string { return lines[:3] })
	write(t, o, 2)
	want := []string{"audit-00000000000000000001.jsonl:4: records 4 to 5 are missing before this line"}
	if diff := cmp.Diff(want, texts(verified(t, o.Dir).Problems)); diff != "" {
		t.Errorf("problems (-want +got):\n%s", diff)
	}
}

func TestOneProcessWritesALog(t *testing.T) {
	o := options(t.TempDir())
	l := open1(t, o)
	if _, err := Open(o); !errors.Is(err, ErrLocked) {
		t.Errorf("opening it twice: %v, want ErrLocked", err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	open1(t, o)
}

func TestManyWritersMakeOneChain(t *testing.T) {
	o := options(t.TempDir())
	o.MaxFileBytes = 5000
	l := open1(t, o)
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for range 25 {
				l.Append(entry())
				if err := l.Sync(); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	wantIntact(t, o.Dir, 200)
}

func TestWhatComesAfterCloseIsCounted(t *testing.T) {
	l := open1(t, options(t.TempDir()))
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	l.Append(entry())
	if n, why := l.Lost(); n != 1 || why == nil {
		t.Errorf("lost %d records, %v, want 1 and why", n, why)
	}
}

func lastOf(t *testing.T, dir string) Anchor {
	t.Helper()
	a, ok, err := readHead(dir)
	if err != nil || !ok {
		t.Fatalf("head %v, %v", ok, err)
	}
	return a
}

func appendTo(t *testing.T, file, text string) {
	t.Helper()
	f, err := os.OpenFile(file, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteString(text); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
}

// edit changes the lines of the log's first file.
func edit(t *testing.T, dir string, change func([]string) []string) {
	t.Helper()
	file := filepath.Join(dir, fileName(1))
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	lines := change(strings.SplitAfter(strings.TrimSuffix(string(b), "\n"), "\n"))
	text := strings.Join(lines, "")
	if !strings.HasSuffix(text, "\n") {
		text += "\n"
	}
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}
