package main

import (
	"fmt"
	"os"
)

// cacheFile is a file that is written and read, a piece at a time.
type cacheFile struct {
	*os.File
	piece    []byte
	position int64
}

// newCacheFile makes a file that goes with the process.
func newCacheFile(dir string) (*cacheFile, error) {
	f, err := os.CreateTemp(dir, "batch-*")
	if err != nil {
		return nil, fmt.Errorf("making a file to fill the page cache with: %w", err)
	}
	if err := os.Remove(f.Name()); err != nil {
		return nil, fmt.Errorf("making a file to fill the page cache with: %w", err)
	}
	return &cacheFile{File: f, piece: make([]byte, mib)}, nil
}

// step writes the next piece and reads back the one that is the longest ago.
func (c *cacheFile) step() error {
	if _, err := c.WriteAt(c.piece, c.position); err != nil {
		return fmt.Errorf("filling the page cache: %w", err)
	}
	c.position = (c.position + int64(len(c.piece))) % cacheFileBytes
	if info, err := c.Stat(); err != nil || info.Size() <= c.position {
		return err // not once around yet
	}
	if _, err := c.ReadAt(c.piece, c.position); err != nil {
		return fmt.Errorf("reading through the page cache: %w", err)
	}
	return nil
}
