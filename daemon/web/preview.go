package web

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/singleflight"
)

const (
	// thumbnailSide and previewSide are the longer sides of what is made, in pixels.
	thumbnailSide = 192
	previewSide   = 1600
	// maxPreviews bounds the previews that are waited for.
	maxPreviews = 64
	// previewTime is how long one may take, with those before it.
	previewTime = 40 * time.Second
	// cacheSize is how many bytes of previews are kept, and cacheLeft what of
	// them is left when there are more.
	cacheSize  = 256 << 20
	cacheLeft  = cacheSize / 4 * 3
	previewExt = ".jpg"
	// failedTime is how long one isn't tried again of which there is no preview: a
	// file may crash its decoder each time. maxFailed bounds those.
	failedTime = 10 * time.Minute
	maxFailed  = 1024
)

var (
	errBusy      = errors.New("too many previews are waited for: try again later")
	errNoPreview = errors.New("there is no picture of this file")
)

// previews makes small pictures and keeps them in a folder of its own. Decoders
// run in [Options].Preview's process, never here.
type previews struct {
	dir     string
	make    func(ctx context.Context, in string, side int, at float64) ([]byte, error)
	flights singleflight.Group
	waiting atomic.Int32
	kept    atomic.Int64 // bytes, about

	mu     sync.Mutex
	failed map[string]time.Time // when, by the preview's name
}

// openPreviews empties the folder of what another version may have left there.
func openPreviews(dir string, make func(ctx context.Context, in string, side int, at float64) ([]byte, error)) (*previews, error) {
	p := &previews{dir: dir, make: make}
	if make == nil {
		return p, nil
	}
	if err := os.RemoveAll(dir); err != nil {
		return nil, fmt.Errorf("previews: %w", err)
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		return nil, fmt.Errorf("previews: %w", err)
	}
	return p, nil
}

// get gives a preview of the file f, which lies at path. again opens the file
// there once more: what was shown must be what was opened.
func (p *previews) get(ctx context.Context, f *os.File, path string, side int, at float64, again func() (*os.File, error)) (*os.File, error) {
	if p.make == nil {
		return nil, errNotShown
	}
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	key := sha256.Sum256(fmt.Appendf(nil, "%s\x00%d\x00%d\x00%d\x00%g", path, info.Size(), info.ModTime().UnixNano(), side, at))
	name := filepath.Join(p.dir, hex.EncodeToString(key[:16])+previewExt)
	if made, err := os.Open(name); err == nil {
		_ = os.Chtimes(name, time.Time{}, time.Now()) // it only decides what goes first
		return made, nil
	}
	if p.hasFailed(name) {
		return nil, errNoPreview
	}
	if p.waiting.Add(1) > maxPreviews {
		p.waiting.Add(-1)
		return nil, errBusy
	}
	defer p.waiting.Add(-1)
	result := p.flights.DoChan(name, func() (any, error) {
		// Who waits may go; others wait for the same.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), previewTime)
		defer cancel()
		data, err := p.make(ctx, path, side, at)
		if err != nil {
			p.fail(name)
			return nil, fmt.Errorf("%w: %w", errNoPreview, err)
		}
		if err := same(info, again); err != nil {
			return nil, err
		}
		return nil, p.keep(name, data)
	})
	select {
	case r := <-result:
		if r.Err != nil {
			return nil, r.Err
		}
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	return os.Open(name)
}

// fail notes that there is no preview.
func (p *previews) fail(name string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.failed == nil || len(p.failed) >= maxFailed {
		p.failed = map[string]time.Time{}
	}
	p.failed[name] = time.Now()
}

func (p *previews) hasFailed(name string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	at, ok := p.failed[name]
	return ok && time.Since(at) < failedTime
}

// same checks that a path still leads to the file that it led to.
func same(info os.FileInfo, again func() (*os.File, error)) error {
	f, err := again()
	if err != nil {
		return err
	}
	defer f.Close()
	now, err := f.Stat()
	if err == nil && !os.SameFile(info, now) {
		err = fs.ErrNotExist
	}
	return err
}

// keep writes a preview, and makes room for it.
func (p *previews) keep(name string, data []byte) error {
	if !strings.HasPrefix(http.DetectContentType(data), "image/jpeg") {
		return errNoPreview
	}
	f, err := os.CreateTemp(p.dir, "new-*")
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	err = errors.Join(err, f.Close())
	if err == nil {
		err = os.Rename(f.Name(), name)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	if p.kept.Add(int64(len(data))) > cacheSize {
		p.prune(cacheLeft)
	}
	return nil
}

// prune removes those that weren't looked at for longest, until no more bytes
// are left.
func (p *previews) prune(left int64) {
	entries, err := os.ReadDir(p.dir)
	if err != nil {
		return // nothing is kept that could be removed
	}
	var all []os.FileInfo
	for _, e := range entries {
		if info, err := e.Info(); err == nil && strings.HasSuffix(e.Name(), previewExt) {
			all = append(all, info)
		}
	}
	slices.SortFunc(all, func(a, b os.FileInfo) int { return b.ModTime().Compare(a.ModTime()) })
	var sum int64
	for _, info := range all {
		if sum+info.Size() > left {
			os.Remove(filepath.Join(p.dir, info.Name()))
			continue
		}
		sum += info.Size()
	}
	p.kept.Store(sum)
}
