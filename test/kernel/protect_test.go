package kernel

import (
	"fmt"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/plimsoll/plimsoll/pkg/cgroup"
	"github.com/plimsoll/plimsoll/pkg/qos"
)

// protection is two pods below one limit, each with pages of a file that nobody uses any more, so that any of
// them can be reclaimed.
type protection struct {
	tr        *tree
	reader    *cgroup.Reader
	parent    string
	protected string
	sibling   string
	third     string
	// offset is where in the file the next pages are that nobody has read yet.
	offset int64
}

func newProtection(tr *tree) *protection {
	tr.t.Helper()
	p := &protection{tr: tr, reader: newReader(tr.t, tr.Host), parent: tr.Kubepods + "/burstable", protected: tr.burstablePod()}
	p.sibling, p.third = p.parent+"/podb", p.parent+"/podc"
	tr.make(p.sibling)
	tr.make(p.third)
	return p
}

// fill lets a process read pages that are charged to its group, and stay there as long as it does.
func (p *protection) fill(group, file string) {
	p.tr.t.Helper()
	p.tr.start(group).tell("read", fmt.Sprintf("%d %s", p.offset, file))
	p.offset += readBytes
	if held := p.pages(group); held < readBytes*9/10 {
		p.tr.t.Fatalf("%s holds %d bytes of the file after %d were read", group, held, readBytes)
	}
}

// pages is how many bytes of files a group holds.
func (p *protection) pages(group string) int64 {
	p.tr.t.Helper()
	s := read(p.tr.t, p.reader, group)
	if !s.FileBytes.OK {
		p.tr.t.Fatalf("sample of %s: %+v, want bytes of files", group, s)
	}
	return s.FileBytes.Value
}

// limit lets the parent have this many bytes more than it has. It returns how to take the limit away.
func (p *protection) limit(more int64) (unlimited func()) {
	p.tr.t.Helper()
	k := p.tr.knob(p.parent, qos.MemoryMax)
	k.set(strconv.FormatInt(read(p.tr.t, p.reader, p.parent).MemoryCurrentBytes.Value+more, 10))
	return func() { k.set("max") }
}

// Below one limit, a third pod that reads a file takes the pages of whom nothing protects. Both knobs keep
// what they are set to, and without them it is lost.
func TestMemoryLowAndMinKeepPagesUnderALimit(t *testing.T) {
	for _, name := range []qos.Knob{qos.MemoryLow, qos.MemoryMin} {
		t.Run(string(name), func(t *testing.T) {
			tr := newTree(t)
			k := tr.knob(tr.burstablePod(), name)
			k.present()
			original := k.raw()
			// kept is how many of 100 of its pages a pod keeps, and how many its sibling.
			kept := func(value string) (protected, sibling int64) {
				p := newProtection(tr)
				file := uncachedFile(t)
				p.fill(p.protected, file)
				p.fill(p.sibling, file)
				third := tr.start(p.third)
				k.set(value)
				ours, others := p.pages(p.protected), p.pages(p.sibling)
				unlimited := p.limit(4 << 20)
				for range 4 {
					third.tell("read", fmt.Sprintf("%d %s", p.offset, file))
					p.offset += readBytes
				}
				protected, sibling = p.pages(p.protected)*100/ours, p.pages(p.sibling)*100/others
				unlimited()
				tr.endAll()
				return protected, sibling
			}
			if protected, sibling := kept("0"); protected > 70 {
				t.Errorf("without protection a pod keeps %d %% of its pages, its sibling %d %%: nothing was taken", protected, sibling)
			}
			if protected, sibling := kept(strconv.Itoa(4 * readBytes)); protected < 95 || sibling > 70 {
				t.Errorf("with %s a pod keeps %d %% of its pages, its sibling %d %%", name, protected, sibling)
			}
			// Within the protection, and no more: half of it keeps about half.
			if protected, _ := kept(strconv.Itoa(readBytes / 2)); protected < 45 || protected > 90 {
				t.Errorf("with %s of half its pages a pod keeps %d %% of them", name, protected)
			}
			k.restore(original)
		})
	}
}

// Where nothing unprotected is left memory.low gives way, and memory.min does not: who wants more is killed.
func TestMemoryMinHoldsWhereLowGivesWay(t *testing.T) {
	tr := newTree(t)
	low, least := tr.knob(tr.burstablePod(), qos.MemoryLow), tr.knob(tr.burstablePod(), qos.MemoryMin)
	low.present()
	least.present()
	originals := []cgroup.Raw{low.raw(), least.raw()}
	for i, k := range []knob{low, least} {
		p := newProtection(tr)
		p.fill(p.protected, uncachedFile(t))
		k.set("max")
		held, before := p.pages(p.protected), read(t, p.reader, p.protected)
		third := tr.start(p.third)
		unlimited := p.limit(8 << 20)
		third.order("hold", 24<<20) // no pages of a file: they cannot be reclaimed without swap
		if k.spec.Knob == qos.MemoryLow {
			third.done()
			after := read(t, p.reader, p.protected)
			if kept := after.FileBytes.Value * 100 / held; kept > 80 {
				t.Errorf("memory.low: the pod keeps %d %% of its pages, although nothing else could be taken", kept)
			}
			if !after.MemoryLowEvents.OK || after.MemoryLowEvents.Value <= before.MemoryLowEvents.Value {
				t.Errorf("memory.low gave way, and its events went from %+v to %+v", before.MemoryLowEvents, after.MemoryLowEvents)
			}
		} else {
			kills := func() int64 { return read(t, p.reader, p.parent).MemoryOOMKillEvents.Value }
			eventually(t, "the kernel ends a process", func() bool { return kills() > 0 })
			if kept := p.pages(p.protected) * 100 / held; kept < 95 {
				t.Errorf("memory.min: the pod keeps %d %% of its pages", kept)
			}
		}
		unlimited()
		k.restore(originals[i])
		tr.endAll()
	}
}

// v1 has no protection. Its soft limit is none: at the limit of a group above, pages below it are taken as well.
func TestASoftLimitOfV1ProtectsNothingUnderALimit(t *testing.T) {
	tr := newTree(t)
	if tr.Mode == cgroup.V2 {
		t.Skip("needs memory.soft_limit_in_bytes, which cgroup v2 does not have")
	}
	p := newProtection(tr)
	soft := filepath.Join(tr.Dir("memory", p.protected), "memory.soft_limit_in_bytes")
	needs(t, exists(soft), "memory.soft_limit_in_bytes", 2, 6)
	p.fill(p.protected, uncachedFile(t))
	put(t, soft, strconv.Itoa(4*readBytes))
	put(t, filepath.Join(tr.Dir("memory", p.third), "memory.soft_limit_in_bytes"), "0")
	third := tr.start(p.third)
	held := p.pages(p.protected)
	unlimited := p.limit(8 << 20)
	third.tell("hold", 24<<20)
	if kept := p.pages(p.protected) * 100 / held; kept > 80 {
		t.Errorf("the pod keeps %d %% of its pages below its soft limit, which protects nothing", kept)
	}
	unlimited()
}
