package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/plimsoll/plimsoll/examples/internal/spin"
)

// workMode is what a thread does in each unit besides its iterations.
type workMode string

const (
	spinMode workMode = "spin"
	// forkMode loads the kernel's process and exec paths, which hold locks that services need too.
	forkMode workMode = "fork"
	// mmapMode loads the kernel's memory mapping and page fault paths.
	mmapMode workMode = "mmap"
	// cacheMode writes and reads a file, so that the job fills its memory with page cache and the kernel has to reclaim.
	cacheMode workMode = "cache"
)

const (
	mib = 1 << 20
	// mappedBytes is what mmapMode maps, writes and unmaps in a unit.
	mappedBytes = 1 * mib
	// cacheFileBytes is what each thread's file of cacheMode grows to, before it is written over.
	cacheFileBytes = 256 * mib
	// churnBytesPerUnit is what a thread writes of its share of --churn-mib in a unit.
	churnBytesPerUnit = 1 * mib
)

// job says what to do.
type job struct {
	threads        int
	unitIterations int64
	churnMiB       int
	mode           workMode
	// scratch is the folder of cacheMode's files.
	scratch string
}

func (j job) validate() error {
	switch {
	case j.threads < 1 || j.threads > 4096:
		return fmt.Errorf("--threads %d: must be between 1 and 4096", j.threads)
	case j.unitIterations < 1:
		return fmt.Errorf("--unit-iterations %d: must be at least 1", j.unitIterations)
	case j.churnMiB < 0:
		return fmt.Errorf("--churn-mib %d: must not be negative", j.churnMiB)
	case j.mode != spinMode && j.mode != forkMode && j.mode != mmapMode && j.mode != cacheMode:
		return fmt.Errorf("--mode %q: want spin, fork, mmap or cache", j.mode)
	}
	return nil
}

// work keeps the threads busy until the context ends or one of them fails.
func (j job) work(ctx context.Context, progress *progress) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	// One processor of the runtime for each thread, so that the kernel and not the runtime shares out
	// the CPU, and one for the status.
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(j.threads + 1))
	var (
		threads sync.WaitGroup
		mu      sync.Mutex
		errs    []error
	)
	for range j.threads {
		threads.Go(func() {
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			if err := j.thread(ctx, progress); err != nil {
				mu.Lock()
				errs = append(errs, err)
				mu.Unlock()
				cancel(err)
			}
		})
	}
	threads.Wait()
	return errors.Join(errs...)
}

// thread does unit after unit.
func (j job) thread(ctx context.Context, progress *progress) error {
	buffer := make([]byte, j.churnMiB*mib/j.threads)
	position := 0
	var file *cacheFile
	if j.mode == cacheMode {
		var err error
		if file, err = newCacheFile(j.scratch); err != nil {
			return err
		}
		defer func() { _ = file.Close() }() // it has no name any more
	}
	for ctx.Err() == nil {
		spin.Work(j.unitIterations)
		position = churn(buffer, position)
		if err := j.extra(file); err != nil {
			return err
		}
		progress.units.Add(1)
	}
	return nil
}

func (j job) extra(file *cacheFile) error {
	switch j.mode {
	case cacheMode:
		return file.step()
	case forkMode:
		if err := exec.Command("/proc/self/exe", childArgument).Run(); err != nil {
			return fmt.Errorf("running a process: %w", err)
		}
	case mmapMode:
		mapped, err := unix.Mmap(-1, 0, mappedBytes, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
		if err != nil {
			return fmt.Errorf("mapping %d bytes: %w", mappedBytes, err)
		}
		touch(mapped)
		if err := unix.Munmap(mapped); err != nil {
			return fmt.Errorf("unmapping %d bytes: %w", mappedBytes, err)
		}
	}
	return nil
}

// churn writes to the next part of the buffer and returns where it stopped.
func churn(buffer []byte, position int) int {
	if len(buffer) == 0 {
		return 0
	}
	end := min(position+churnBytesPerUnit, len(buffer))
	touch(buffer[position:end])
	return end % len(buffer)
}

// touch writes to each page.
func touch(memory []byte) {
	for offset := 0; offset < len(memory); offset += os.Getpagesize() {
		memory[offset]++
	}
}
