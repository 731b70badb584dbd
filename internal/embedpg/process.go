package embedpg

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"runtime"
	"strconv"
	"syscall"
	"time"
)

// account is the user the server runs as. The zero value is the user of this process.
type account struct {
	uid, gid uint32
	drop     bool // this process is root and must become uid, since PostgreSQL refuses root
}

// serverAccount chooses the account for data, which may not exist yet. The owner of existing data comes first: whoever
// ran it without root before can do so again.
func serverAccount(data string) (account, error) {
	if os.Geteuid() != 0 {
		return account{}, nil
	}
	var stat syscall.Stat_t
	if err := syscall.Lstat(data, &stat); err == nil && stat.Uid != 0 {
		return account{uid: stat.Uid, gid: stat.Gid, drop: true}, nil
	}
	for _, name := range []string{"postgres", "nobody"} {
		found, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, err := strconv.ParseUint(found.Uid, 10, 32)
		if err != nil {
			return account{}, fmt.Errorf("read uid of user %s: %w", name, err)
		}
		gid, err := strconv.ParseUint(found.Gid, 10, 32)
		if err != nil {
			return account{}, fmt.Errorf("read gid of user %s: %w", name, err)
		}
		return account{uid: uint32(uid), gid: uint32(gid), drop: true}, nil
	}
	return account{}, errors.New("PostgreSQL does not run as root, and there is no user postgres or nobody to run it as")
}

// own hands path itself, never what a symbolic link points to, to the account.
func (a account) own(path string) error {
	if !a.drop {
		return nil
	}
	return os.Lchown(path, int(a.uid), int(a.gid))
}

// command prepares a program of PostgreSQL that works on data. It runs in a process group of its own, so that Ctrl-C in
// a terminal ends our own server before its database, and with nothing of our environment, which may change what the
// program does (PGDATA, LC_ALL) and may hold secrets. The caller calls release once the program has started.
func (a account) command(ctx context.Context, data, program string, args ...string) (cmd *exec.Cmd, release func(), err error) {
	release = func() {}
	path := data
	cmd = a.bare(ctx, program)
	if a.drop && runtime.GOOS == "linux" {
		// The account may not be allowed to enter the folders above data: /root, or a temporary folder of mode 0700.
		// An open descriptor is a way around them, and the server asks for nothing but data.
		folder, err := os.Open(data)
		if err != nil {
			return nil, nil, err
		}
		release = func() { _ = folder.Close() }
		cmd.ExtraFiles = []*os.File{folder} // descriptor 3
		path = "/proc/self/fd/3"
	}
	cmd.Args = append(append(cmd.Args, "-D", path), args...)
	return cmd, release, nil
}

// bare prepares a program that needs no data.
func (a account) bare(ctx context.Context, program string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Dir = "/" // ours may be closed to the account
	cmd.Env = []string{"TZ=UTC", "LC_ALL=C"}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if a.drop {
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: a.uid, Gid: a.gid}
	}
	return cmd
}

// privateFolder makes sure that path is a folder only the account (and root) can use. Its name can be guessed and its
// parent is open to all: another user may have put a folder there to be given our connections, or a symbolic link to
// make root change the owner of something else.
func privateFolder(path string, a account) error {
	if err := os.Mkdir(path, 0o700); err != nil && !errors.Is(err, os.ErrExist) {
		return err
	}
	var stat syscall.Stat_t
	if err := syscall.Lstat(path, &stat); err != nil {
		return &os.PathError{Op: "lstat", Path: path, Err: err}
	}
	want := uint32(os.Geteuid())
	if a.drop {
		want = a.uid
	}
	private := stat.Mode&syscall.S_IFMT == syscall.S_IFDIR && stat.Mode&0o777 == 0o700
	// Our own is right as well: it is new, or the run that made it was killed before the last line.
	if !private || stat.Uid != want && stat.Uid != uint32(os.Geteuid()) {
		return fmt.Errorf("%s is not a private folder of user %d: remove it", path, want)
	}
	return a.own(path)
}

// process is the running server, or a program beside it.
type process struct {
	cmd   *exec.Cmd
	ended chan struct{} // closed when it has ended; then err says how
	err   error
}

// launch starts cmd as a child that does not outlive us.
func launch(cmd *exec.Cmd) (*process, error) {
	p := &process{cmd: cmd, ended: make(chan struct{})}
	started := make(chan error)
	dieWithParent(cmd.SysProcAttr)
	go func() {
		// Linux takes the thread that started the child for its parent. This one stays until the child has ended.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err != nil {
			return
		}
		p.err = cmd.Wait()
		close(p.ended)
	}()
	if err := <-started; err != nil {
		return nil, err
	}
	return p, nil
}

func (p *process) pid() int { return p.cmd.Process.Pid }

// interrupt asks for a fast shutdown and waits for the end. What is still there after stopGrace is told to drop everything,
// which the next start repairs.
func (p *process) interrupt() error {
	if err := p.cmd.Process.Signal(syscall.SIGINT); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("stop %s: %w", p.cmd.Path, err)
	}
	patience := time.NewTimer(stopGrace)
	defer patience.Stop()
	select {
	case <-p.ended:
	case <-patience.C:
		_ = p.cmd.Process.Signal(syscall.SIGQUIT)
		<-p.ended
	}
	if p.err != nil {
		return fmt.Errorf("stop %s: %w", p.cmd.Path, p.err)
	}
	return nil
}
