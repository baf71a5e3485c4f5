package daemon

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// lockName is the file in the state folder whose lock says that it is in use.
const lockName = "lock"

// maxCrashes is how many times in a row the process may end while a file is in
// work before the file has failed: one that brings the process down must not
// do so for ever. It is generous because a power cut counts too.
const maxCrashes = 10

// tempPrefix and tempSuffix frame the names of temporaries beside outputs.
const (
	tempPrefix = ".restored-"
	tempSuffix = ".tmp"
)

// ErrLocked is a state folder that another process has in use.
var ErrLocked = errors.New("in use by another restored process")

// lockState takes the lock, which the system gives back when the process ends
// in whatever way.
func lockState(dir string) (*os.File, error) {
	file := filepath.Join(dir, lockName)
	f, err := os.OpenFile(file, os.O_RDWR|os.O_CREATE, 0o640)
	if err != nil {
		return nil, fmt.Errorf("state folder: %w", err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		if errors.Is(err, unix.EWOULDBLOCK) {
			err = ErrLocked
		}
		return nil, errors.Join(fmt.Errorf("state folder %s: %w", dir, err), f.Close())
	}
	return f, nil
}

// interrupted is a file that was in work when the last process ended.
type interrupted struct {
	id      int64
	out     string
	crashes int
}

// Recover puts right what an interrupted process left behind: files in work
// are queued again and their temporaries are removed. It returns how many there
// were. A command that uses a Ledger alone calls it once, before any Process;
// [Daemon.Run] does so by itself.
func (l *Ledger) Recover(ctx context.Context) (int, error) {
	list, err := l.recoverRunning(ctx)
	return len(list), err
}

// recoverRunning puts the files that were in work when the last process ended
// back to queued, or to failed after too many times, and removes their
// temporaries. It must be called before any work begins.
func (l *Ledger) recoverRunning(ctx context.Context) ([]interrupted, error) {
	rows, err := l.db.QueryContext(ctx, `UPDATE files SET state = 'queued', crashes = crashes + 1
		WHERE state = 'running' RETURNING id, out, crashes`)
	if err != nil {
		return nil, fmt.Errorf("ledger: recover: %w", err)
	}
	defer rows.Close()
	var list []interrupted
	for rows.Next() {
		var f interrupted
		if err := rows.Scan(&f.id, &f.out, &f.crashes); err != nil {
			return nil, fmt.Errorf("ledger: recover: %w", err)
		}
		list = append(list, f)
	}
	if err := errors.Join(rows.Err(), rows.Close()); err != nil {
		return nil, fmt.Errorf("ledger: recover: %w", err)
	}
	swept := map[string]bool{}
	for _, f := range list {
		if dir := filepath.Dir(f.out); f.out != "" && !swept[dir] {
			swept[dir] = true
			if err := sweep(dir); err != nil {
				return nil, err
			}
		}
		if f.crashes >= maxCrashes {
			reason := fmt.Sprintf("the process ended %d times while this file was in work", f.crashes)
			if err := l.fail(ctx, f.id, reason); err != nil {
				return nil, err
			}
		}
	}
	return list, nil
}

// sweep removes our temporaries from a folder in which nobody is writing.
func sweep(dir string) error { return sweepOf(dir, tempPrefix) }

// sweepOf is sweep for those whose names begin with prefix.
func sweepOf(dir, prefix string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("remove temporaries: %w", err)
	}
	for _, e := range entries {
		if e.Type().IsRegular() && strings.HasPrefix(e.Name(), prefix) && strings.HasSuffix(e.Name(), tempSuffix) {
			if err := os.Remove(filepath.Join(dir, e.Name())); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return fmt.Errorf("remove temporaries: %w", err)
			}
		}
	}
	return nil
}
