package events

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"triage/internal/store"
)

// FS is what the store asks of a disk, so that tests can make it fail. DuckDB reads blocks by path past it: an FS other
// than the operating system's must keep files where their names say.
type FS interface {
	MkdirAll(dir string) error
	ReadDir(dir string) ([]fs.DirEntry, error)
	ReadFile(name string) ([]byte, error)
	// Create opens a new, empty file for writing; an old one of the name is truncated.
	Create(name string) (File, error)
	Rename(from, to string) error
	Remove(name string) error
	// SyncDir makes the names in a directory durable.
	SyncDir(dir string) error
}

// File is a file open for writing.
type File interface {
	io.Writer
	Sync() error
	Truncate(size int64) error
	Seek(offset int64, whence int) (int64, error)
	Close() error
}

// osFS is the operating system's disk.
type osFS struct{}

func (osFS) MkdirAll(dir string) error                 { return os.MkdirAll(dir, 0o750) }
func (osFS) ReadDir(dir string) ([]fs.DirEntry, error) { return os.ReadDir(dir) }
func (osFS) ReadFile(name string) ([]byte, error)      { return os.ReadFile(name) }
func (osFS) Rename(from, to string) error              { return os.Rename(from, to) }
func (osFS) Remove(name string) error                  { return os.Remove(name) }

func (osFS) Create(name string) (File, error) {
	return os.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o640)
}

func (osFS) SyncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// Unsynced is the operating system's disk without waiting for it: a power failure may take anything. It is for stores
// that are thrown away or can be made again.
func Unsynced() FS { return unsyncedFS{} }

type unsyncedFS struct{ osFS }

func (unsyncedFS) SyncDir(string) error { return nil }

func (d unsyncedFS) Create(name string) (File, error) {
	f, err := d.osFS.Create(name)
	if err != nil {
		return nil, err
	}
	return unsyncedFile{f}, nil
}

type unsyncedFile struct{ File }

func (unsyncedFile) Sync() error { return nil }

// writeDurably puts a small file in place so that after a crash either the old or the new content is there.
func writeDurably(disk FS, name string, content []byte) error {
	tmp := name + ".tmp"
	f, err := disk.Create(tmp)
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err := disk.Rename(tmp, name); err != nil {
		return err
	}
	return disk.SyncDir(filepath.Dir(name))
}

// diskError turns "no space left" into the error that callers branch on.
func diskError(doing string, err error) error {
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return fmt.Errorf("%s: %w: %w; free some space or lower the retention, then it goes on by itself", doing, store.ErrFull, err)
	}
	return fmt.Errorf("%s: %w", doing, err)
}
