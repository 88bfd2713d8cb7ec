package demo

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"
)

// proc is a process that the demo started, in a group of its own, so that a Ctrl-C reaches the demo alone and the demo
// stops the others in order.
type proc struct {
	name string
	cmd  *exec.Cmd
	log  string // the file that has its standard output and error
	// done is closed when the process has ended and its status is in err.
	done chan struct{}
	err  error
	// life is the write end of the process' standard input: a process of the shop ends when it is closed, even if
	// this process was killed.
	life io.Closer
}

// start starts a process. Its output goes to dir/NAME.log; stdin, if not nil, is written first and the pipe kept open.
func start(name, dir string, cmd *exec.Cmd, stdin []byte) (*proc, error) {
	p := &proc{name: name, cmd: cmd, log: filepath.Join(dir, name+".log"), done: make(chan struct{})}
	out, err := os.OpenFile(p.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, err
	}
	defer func() { _ = out.Close() }()
	cmd.Stdout, cmd.Stderr = out, out
	cmd.SysProcAttr = ownGroup(cmd.SysProcAttr)
	var pipe io.WriteCloser
	if stdin != nil {
		if pipe, err = cmd.StdinPipe(); err != nil {
			return nil, err
		}
		p.life = pipe
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	go func() {
		p.err = cmd.Wait()
		close(p.done)
	}()
	if pipe != nil {
		if _, err := pipe.Write(stdin); err != nil {
			p.stop(syscall.SIGKILL, 0)
			return nil, fmt.Errorf("configure %s: %w", name, err)
		}
	}
	return p, nil
}

// stop sends a signal, gives the process time, and then ends its whole group. It returns when the process is gone.
func (p *proc) stop(sig syscall.Signal, grace time.Duration) {
	signalProcess(p.cmd.Process, sig)
	if p.life != nil {
		_ = p.life.Close()
	}
	select {
	case <-p.done:
	case <-time.After(grace):
	}
	killGroup(p.cmd.Process) // also what the process left behind
	<-p.done
}

// wait polls until ready returns nil. It gives up when the process ends, ctx does, or time is up.
func (p *proc) wait(ctx context.Context, limit time.Duration, ready func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	for {
		err := ready(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-p.done:
			return fmt.Errorf("%s ended while starting (%w): %s", p.name, p.err, p.lastLines())
		case <-ctx.Done():
			return fmt.Errorf("%s is not ready: %w: %s", p.name, err, p.lastLines())
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// lastLines is the end of what the process wrote.
func (p *proc) lastLines() string {
	b, err := os.ReadFile(p.log)
	if err != nil {
		return err.Error()
	}
	if len(b) > 1500 {
		b = b[len(b)-1500:]
	}
	return string(bytes.TrimSpace(b))
}
