package fetch

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// A Request says what to fetch and where to. The zero values of the last
// fields are what commands use.
type Request struct {
	URLs   []string // addresses of the same file, tried in turn
	Path   string   // where the file goes; its folder must exist
	SHA256 string   // 64 hexadecimal digits; "" = take what comes
	Bytes  int64    // size of the file; 0 = not known
	Max    int64    // a larger file is refused; 0 = 8 GiB
	// Progress is told how many bytes there are of how many (0 = not known).
	Progress func(done, total int64)
	Note     func(text string) // is told of each further try; may be nil

	Client *http.Client                    // nil = NewClient()
	Free   func(dir string) (int64, error) // free bytes of a folder's disk; nil = ask the system
	Tries  int                             // broken connections in a row without a byte gained; 0 = 4
	Pause  func(try int) time.Duration     // before the try'th further try; nil = 1 s, 2 s, 4 s …
	Idle   time.Duration                   // a connection silent for so long is broken; 0 = 1 minute
}

// A Result says what was fetched.
type Result struct {
	URL     string
	SHA256  string
	Bytes   int64
	Resumed int64 // bytes that an earlier call had fetched
}

// The errors that a caller tells apart.
var (
	ErrChecksum = errors.New("the file isn't the expected one")
	ErrNoSpace  = errors.New("not enough space")
	ErrTooLarge = errors.New("the file is larger than allowed")
	ErrInsecure = errors.New("not an https address")
	ErrBusy     = errors.New("another process is fetching it")
)

const (
	defaultMax   = 8 << 30
	defaultTries = 4
	defaultIdle  = time.Minute
	// margin is what must stay free on the disk.
	margin = 64 << 20
)

// PartPath is where the bytes of an unfinished download to path lie.
func PartPath(path string) string {
	return filepath.Join(filepath.Dir(path), ".restored-"+filepath.Base(path)+".part.tmp")
}

// File fetches a file. If the error is neither ErrChecksum nor ErrTooLarge,
// what was fetched so far is kept, and the same call goes on from there.
func File(ctx context.Context, r Request) (Result, error) {
	if len(r.URLs) == 0 {
		return Result{}, errors.New("fetch: no address")
	}
	for _, raw := range r.URLs {
		if err := checkURL(raw); err != nil {
			return Result{}, err
		}
	}
	r.defaults()
	p, err := openPart(r.Path)
	if err != nil {
		return Result{}, err
	}
	defer p.close()
	resumed := p.size
	from, err := r.all(ctx, p)
	if err != nil {
		if p.size == 0 {
			err = errors.Join(err, removeIfThere(p.path))
		}
		return Result{}, err
	}
	if err := p.finish(r.Path); err != nil {
		return Result{}, err
	}
	return Result{URL: from, SHA256: p.sum(), Bytes: p.size, Resumed: min(resumed, p.resumed)}, nil
}

func (r *Request) defaults() {
	if r.Max == 0 {
		r.Max = defaultMax
	}
	if r.Client == nil {
		r.Client = NewClient()
	}
	if r.Free == nil {
		r.Free = freeBytes
	}
	if r.Tries == 0 {
		r.Tries = defaultTries
	}
	if r.Pause == nil {
		r.Pause = func(try int) time.Duration { return time.Second << min(try-1, 5) }
	}
	if r.Idle == 0 {
		r.Idle = defaultIdle
	}
	if r.Progress == nil {
		r.Progress = func(int64, int64) {}
	}
	if r.Note == nil {
		r.Note = func(string) {}
	}
	r.SHA256 = strings.ToLower(r.SHA256)
}

// all tries the addresses until one has given the whole file with the right
// checksum, and returns it.
func (r *Request) all(ctx context.Context, p *part) (string, error) {
	var errs []error
	for _, address := range r.URLs {
		err := r.from(ctx, address, p)
		if err == nil {
			err = p.check(r.SHA256)
			if errors.Is(err, ErrChecksum) && p.resumed > 0 {
				// The two parts may be of different files: once more, whole.
				if err = p.reset(); err == nil {
					if err = r.from(ctx, address, p); err == nil {
						err = p.check(r.SHA256)
					}
				}
			}
		}
		if err == nil {
			return address, nil
		}
		errs = append(errs, fmt.Errorf("fetch %s: %w", address, err))
		if errors.Is(err, ErrChecksum) || errors.Is(err, ErrTooLarge) {
			if err := p.reset(); err != nil {
				errs = append(errs, err)
			}
			continue
		}
		if ctx.Err() != nil || errors.Is(err, ErrNoSpace) {
			break // the next address would meet the same
		}
	}
	return "", errors.Join(errs...)
}

// from fetches the rest of the file from one address, over as many connections as
// it takes while each gains something.
func (r *Request) from(ctx context.Context, address string, p *part) error {
	for try := 0; ; {
		before := p.size
		done, err := r.once(ctx, address, p)
		if done || err != nil && !isBroken(err) || ctx.Err() != nil {
			return errors.Join(err, ctx.Err())
		}
		if p.size > before {
			try = 0
		}
		if try++; try >= r.Tries {
			return fmt.Errorf("%w; %d bytes are kept, and the same command goes on there", err, p.size)
		}
		r.Note(fmt.Sprintf("%v; trying again from byte %d", err, p.size))
		select {
		case <-time.After(r.Pause(try)):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// space refuses a download for which the disk has no room.
func (r *Request) space(dir string, need int64) error {
	free, err := r.Free(dir)
	if err != nil {
		return nil //nolint:nilerr // writing will tell
	}
	if need+margin > free {
		return fmt.Errorf("%w in %s: %d MB more are needed and %d MB are free; free some and try again", ErrNoSpace, dir, (need+margin)>>20, free>>20)
	}
	return nil
}

func freeBytes(dir string) (int64, error) {
	var s unix.Statfs_t
	if err := unix.Statfs(dir, &s); err != nil {
		return 0, err
	}
	return int64(s.Bavail) * s.Bsize, nil //nolint:unconvert // int32 on other systems
}

// noSpace names an error of a full disk.
func noSpace(err error) error {
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return fmt.Errorf("%w: %w; free some and try again", ErrNoSpace, err)
	}
	return err
}

// isBroken says whether another try may help.
func isBroken(err error) bool {
	var b *brokenError
	return errors.As(err, &b)
}

// A brokenError is a failure of the connection or of the server.
type brokenError struct{ error }

func (e *brokenError) Unwrap() error { return e.error }

// removeIfThere removes a file that may be absent.
func removeIfThere(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}
