//go:build !unix

package events

// dirLock does nothing where the system has no flock; whoever starts two processes on one directory there must not.
type dirLock struct{}

func lockDir(string) (*dirLock, error) { return &dirLock{}, nil }

func (*dirLock) unlock() {}
