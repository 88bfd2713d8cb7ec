package events

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"
)

var (
	errPower = errors.New("the power is off")
	errFault = &fs.PathError{Op: "write", Path: "faulty", Err: syscall.EIO}
)

// faultFS is a disk below root that fails, tears writes, is slow and loses power at calls chosen by its random numbers. It
// knows what was made durable: after powerLoss only that is sure to be there. Files are where their names say.
type faultFS struct {
	osFS
	root string

	mu     sync.Mutex
	random *rand.Rand
	// Of so many calls one fails, or is delayed by a millisecond; 0 is none.
	failEach, slowEach int
	// cutIn is how many calls further the power goes, 0 for never.
	cutIn int
	off   bool
	full  bool // writes fail for want of space

	nodes map[string]*inode
	ops   []nameOp // what happened to names, in order
}

// inode is a file's bytes, and those that were synced.
type inode struct {
	data, synced []byte
	dir          bool
}

// nameOp is one change of names: from goes, to comes; either may be empty.
type nameOp struct {
	from, to string
	node     *inode
	durable  bool
}

func newFaultFS(root string, seed uint64) *faultFS {
	return &faultFS{root: root, random: rand.New(rand.NewPCG(seed, 1)), nodes: map[string]*inode{}}
}

// call is what befalls each call that changes something. mu is held.
func (f *faultFS) call() error {
	if f.cutIn > 0 {
		f.cutIn--
		f.off = f.off || f.cutIn == 0
	}
	if f.slowEach > 0 && f.random.IntN(f.slowEach) == 0 {
		time.Sleep(time.Millisecond)
	}
	switch {
	case f.off:
		return errPower
	case f.failEach > 0 && f.random.IntN(f.failEach) == 0:
		return errFault
	}
	return nil
}

func (f *faultFS) MkdirAll(dir string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.call(); err != nil {
		return err
	}
	if f.nodes[dir] == nil {
		f.nodes[dir] = &inode{dir: true}
		f.ops = append(f.ops, nameOp{to: dir, node: f.nodes[dir]})
	}
	return f.osFS.MkdirAll(dir)
}

func (f *faultFS) Create(name string) (File, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.call(); err != nil {
		return nil, err
	}
	if f.full {
		return nil, &fs.PathError{Op: "open", Path: name, Err: syscall.ENOSPC}
	}
	file, err := f.osFS.Create(name)
	if err != nil {
		return nil, err
	}
	n := &inode{}
	f.nodes[name] = n
	f.ops = append(f.ops, nameOp{to: name, node: n})
	return &faultFile{file, f, n, 0}, nil
}

func (f *faultFS) Rename(from, to string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.call(); err != nil {
		return err
	}
	if err := f.osFS.Rename(from, to); err != nil {
		return err
	}
	f.ops = append(f.ops, nameOp{from: from, to: to, node: f.nodes[from]})
	f.nodes[to] = f.nodes[from]
	delete(f.nodes, from)
	return nil
}

func (f *faultFS) Remove(name string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.call(); err != nil {
		return err
	}
	if err := f.osFS.Remove(name); err != nil {
		return err
	}
	f.ops = append(f.ops, nameOp{from: name})
	delete(f.nodes, name)
	return nil
}

func (f *faultFS) SyncDir(dir string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.call(); err != nil {
		return err
	}
	for i := range f.ops {
		o := &f.ops[i]
		o.durable = o.durable || o.from != "" && filepath.Dir(o.from) == dir || o.to != "" && filepath.Dir(o.to) == dir
	}
	return nil
}

// powerLoss turns the directory into what a machine finds after its power failed: of what was not synced a part, torn.
// The store that used it must be gone.
func (f *faultFS) powerLoss() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	names := map[string]*inode{}
	reached := f.random.IntN(len(f.ops) + 1)
	for i, o := range f.ops {
		if !o.durable && i >= reached {
			continue
		}
		if o.from != "" {
			delete(names, o.from)
		}
		if o.to != "" {
			names[o.to] = o.node
		}
	}
	entries, err := os.ReadDir(f.root)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if err := os.RemoveAll(filepath.Join(f.root, e.Name())); err != nil {
			return err
		}
	}
	f.nodes, f.ops = map[string]*inode{}, nil
	keep := func(name string, n *inode) {
		f.nodes[name] = n
		f.ops = append(f.ops, nameOp{to: name, node: n, durable: true})
	}
	for name, n := range names {
		if n.dir {
			keep(name, n)
			if err := os.MkdirAll(name, 0o750); err != nil {
				return err
			}
		}
	}
	for name, n := range names {
		dir := filepath.Dir(name)
		if n.dir || dir != f.root && names[dir] == nil || strings.Contains(name, "/tail/") {
			continue
		}
		content := n.synced
		if more := len(n.data) - len(n.synced); more > 0 && bytes.HasPrefix(n.data, n.synced) {
			content = bytes.Clone(n.data[:len(n.synced)+f.random.IntN(more+1)])
			if f.random.IntN(2) == 0 { // the size reached the disk, the bytes did not
				clear(content[len(n.synced):])
			}
		}
		keep(name, &inode{data: bytes.Clone(content), synced: content})
		if err := os.WriteFile(name, content, 0o600); err != nil {
			return err
		}
	}
	f.off, f.cutIn = false, 0
	return nil
}

type faultFile struct {
	File
	fs   *faultFS
	node *inode
	at   int64
}

func (f *faultFile) Write(p []byte) (int, error) {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	err := f.fs.call()
	if err == nil && f.fs.full {
		err = &fs.PathError{Op: "write", Path: "full", Err: syscall.ENOSPC}
	}
	if err != nil {
		p = p[:f.fs.random.IntN(len(p)+1)]
	}
	n, werr := f.File.Write(p)
	f.node.data = append(f.node.data[:f.at:f.at], p[:n]...)
	f.at += int64(n)
	return n, errors.Join(err, werr)
}

func (f *faultFile) Sync() error {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	if err := f.fs.call(); err != nil {
		return err
	}
	f.node.synced = bytes.Clone(f.node.data)
	return nil
}

func (f *faultFile) Truncate(size int64) error {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	if err := f.fs.call(); err != nil {
		return err
	}
	f.node.data = f.node.data[:size:size]
	return f.File.Truncate(size)
}

func (f *faultFile) Seek(offset int64, whence int) (int64, error) {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	if whence != io.SeekStart {
		return 0, errors.New("faultFile seeks from the start only")
	}
	f.at = offset
	return f.File.Seek(offset, whence)
}
