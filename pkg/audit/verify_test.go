package audit

import (
	"bytes"
	"errors"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const firstFile = "audit-00000000000000000001.jsonl"

func TestWhatWasDoneToALogIsFoundWhereItWasDone(t *testing.T) {
	removeFile := func(name string) func(*testing.T, string) {
		return func(t *testing.T, dir string) {
			if err := os.Remove(filepath.Join(dir, name)); err != nil {
				t.Fatal(err)
			}
		}
	}
	lines := func(change func([]string) []string) func(*testing.T, string) {
		return func(t *testing.T, dir string) { edit(t, dir, change) }
	}
	// Twelve records: 1 to 5, 6 to 10, and 11 and 12.
	for name, test := range map[string]struct {
		harm func(*testing.T, string)
		want []string
	}{
		"nothing": {func(*testing.T, string) {}, []string{}},
		"an edited line": {lines(func(l []string) []string {
			l[2] = strings.Replace(l[2], "because", "besides", 1)
			return l
		}), []string{firstFile + ":3: record 3 is not as it was written: its hash is HASH and the record after it was chained to HASH"}},
		"an edited first line": {lines(func(l []string) []string {
			l[0] = strings.Replace(l[0], "because", "besides", 1)
			return l
		}), []string{firstFile + ":1: record 1 is not as it was written: its hash is HASH and the record after it was chained to HASH"}},
		"a removed line": {lines(func(l []string) []string { return slices.Delete(l, 2, 3) }),
			[]string{firstFile + ":3: records 3 to 3 are missing before this line"}},
		"a removed first line": {lines(func(l []string) []string { return l[1:] }), []string{
			firstFile + ":1: the file begins with record 2, and by its name should begin with 1",
			firstFile + ":1: the log begins with record 2, and does not say why records 1 to 1 are gone",
		}},
		"two lines that changed places": {lines(func(l []string) []string {
			l[1], l[2] = l[2], l[1]
			return l
		}), []string{
			firstFile + ":2: records 2 to 2 are missing before this line",
			firstFile + ":3: this is record 2, out of its place: record 4 should be here",
			firstFile + ":4: records 3 to 3 are missing before this line",
		}},
		"a line twice": {lines(func(l []string) []string { return slices.Insert(l, 1, l[0]) }), []string{
			firstFile + ":2: this is record 1, out of its place: record 2 should be here",
		}},
		"a line that is no record": {lines(func(l []string) []string {
			l[1] = "nonsense\n"
			return l
		}), []string{firstFile + ":2: the line is not a record, and nothing says that it was torn"}},
		"a file cut off": {lines(func(l []string) []string { return l[:3] }), []string{
			"audit-00000000000000000006.jsonl:1: records 4 to 5 are missing before this line",
		}},
		"a removed file": {removeFile("audit-00000000000000000006.jsonl"), []string{
			"audit-00000000000000000011.jsonl:1: records 6 to 10 are missing before this line",
		}},
		"a removed first file": {removeFile(firstFile), []string{
			"audit-00000000000000000006.jsonl:1: the log begins with record 6, and does not say why records 1 to 5 are gone",
		}},
		"a removed last file": {removeFile("audit-00000000000000000011.jsonl"), []string{
			"audit.head: records 11 to 12 are missing at the end of the log",
		}},
		"a removed head": {removeFile(headName), []string{
			"audit.head: it is missing or empty: whether records are missing at the end is not known",
		}},
		"an edited last line": {func(t *testing.T, dir string) {
			file := filepath.Join(dir, "audit-00000000000000000011.jsonl")
			b, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			i := bytes.LastIndex(b, []byte("because"))
			copy(b[i:], "besides")
			if err := os.WriteFile(file, b, 0o600); err != nil {
				t.Fatal(err)
			}
		}, []string{"audit-00000000000000000011.jsonl:2: record 12 is not as it was written: its hash is HASH and audit.head has HASH"}},
		"a whole log that was written anew": {func(t *testing.T, dir string) {
			if err := os.RemoveAll(dir); err != nil {
				t.Fatal(err)
			}
			o := options(dir)
			o.MaxFileBytes = 1600
			o.Dir = dir
			l := open1(t, o)
			for range 12 {
				e := entry()
				e.Why = "other"
				l.Append(e)
			}
		}, []string{"audit-00000000000000000006.jsonl:2: record 7 is not as it was when the anchor ANCHOR was taken"}},
	} {
		t.Run(name, func(t *testing.T) {
			o := options(filepath.Join(t.TempDir(), "log"))
			o.MaxFileBytes = 1600
			write(t, o, 7)
			anchor := lastOf(t, o.Dir)
			write(t, o, 5)
			test.harm(t, o.Dir)
			var anchors []Anchor
			if strings.Contains(name, "anew") {
				anchors = append(anchors, anchor)
			}
			got := texts(verified(t, o.Dir, anchors...).Problems)
			for i := range got {
				got[i] = strings.ReplaceAll(got[i], anchor.String(), "ANCHOR")
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("problems (-want +got):\n%s", diff)
			}
		})
	}
}

func TestAnAnchorHoldsTheLogToWhatItWas(t *testing.T) {
	o := options(t.TempDir())
	write(t, o, 3)
	a := lastOf(t, o.Dir)
	write(t, o, 2)
	if r := verified(t, o.Dir, a); len(r.Problems) != 0 {
		t.Errorf("problems %q, want none", r.Problems)
	}
	later := Anchor{Sequence: 99, Hash: a.Hash}
	want := []string{"audit.head: record 99 is not in the log, and was when the anchor " + later.String() + " was taken"}
	if diff := cmp.Diff(want, texts(verified(t, o.Dir, a, later).Problems)); diff != "" {
		t.Errorf("problems (-want +got):\n%s", diff)
	}
	for _, bad := range []string{"", "7", "7:abc", "x:" + a.Hash, "7:" + strings.ToUpper(a.Hash)} {
		if _, err := ParseAnchor(bad); err == nil && bad != "7:"+a.Hash {
			t.Errorf("ParseAnchor(%q): no error", bad)
		}
	}
}

func TestNoLogIsAnErrorAndNoFinding(t *testing.T) {
	if _, err := Verify(t.TempDir()); !errors.Is(err, ErrNoLog) {
		t.Errorf("an empty directory: %v, want ErrNoLog", err)
	}
	if _, err := Verify(filepath.Join(t.TempDir(), "gone")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no directory: %v, want ErrNotExist", err)
	}
}

// Any change of one byte, wherever it is, and any cut is found. Only the last newline of all may be
// told of as torn.
func TestEveryFlippedByteAndEveryCutIsFound(t *testing.T) {
	o := options(t.TempDir())
	o.MaxFileBytes = 1600
	write(t, o, 12)
	files, err := listFiles(o.Dir)
	if err != nil {
		t.Fatal(err)
	}
	random := rand.New(rand.NewPCG(1, 2))
	for round := range 400 {
		file := files[random.IntN(len(files))].path
		whole, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		i := random.IntN(len(whole))
		harmed := slices.Clone(whole)
		if round%2 == 0 {
			harmed[i] ^= byte(1 + random.IntN(255))
		} else {
			harmed = harmed[:i]
		}
		if err := os.WriteFile(file, harmed, 0o600); err != nil {
			t.Fatal(err)
		}
		if r := verified(t, o.Dir); len(r.Problems) == 0 {
			t.Errorf("round %d: byte %d of %s: not found", round, i, file)
		}
		if err := os.WriteFile(file, whole, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	wantIntact(t, o.Dir, 12)
}

// Whatever is in the files, Open and Verify end, and what is appended afterwards is readable.
func FuzzAnythingInTheFilesIsAFinding(f *testing.F) {
	f.Add([]byte(`{"sequence":1}`+"\n"), []byte("1:abc"))
	f.Add([]byte("\n\n\x00"), []byte{})
	f.Add([]byte(`{"sequence":18446744073709551615,"previous":"`+noHash+`","kind":"write"}`), []byte(""))
	f.Fuzz(func(t *testing.T, data, head []byte) {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, fileName(1)), data, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, headName), head, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Verify(dir); err != nil {
			t.Fatal(err)
		}
		l, err := Open(options(dir))
		if err != nil {
			t.Fatal(err)
		}
		l.Append(entry())
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		if n, why := l.Lost(); n != 0 {
			t.Fatalf("%d records lost: %v", n, why)
		}
		if r := verified(t, dir); r.Records == 0 {
			t.Fatal("no record was found behind the rubbish")
		}
	})
}
