package fetch

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"path/filepath"
	"syscall"
)

// A version is which file the bytes of a part belong to.
type version struct {
	ETag     string `json:"etag,omitempty"`          // a strong one
	Modified string `json:"last_modified,omitempty"` // where there is no ETag
	Total    int64  `json:"total"`                   // 0 = not known
}

// same says whether both are surely the same version.
func (v version) same(w version) bool {
	return v.Total == w.Total && v.Total > 0 && v.ETag == w.ETag && v.Modified == w.Modified
}

// A part is an unfinished download: the file with its bytes, locked, and the
// note of their version beside it.
type part struct {
	path    string
	f       *os.File
	hash    hash.Hash // of all bytes so far
	size    int64
	resumed int64 // bytes that were there and are still used
	version version
}

// lockPart opens or makes the file and locks it. Between the two another process may
// have finished it: then it has another name, and must not be touched.
func lockPart(path string) (*os.File, error) {
	for {
		f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|syscall.O_NOFOLLOW, 0o644)
		if err != nil {
			return nil, fmt.Errorf("fetch: %w", err)
		}
		if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
			f.Close()
			return nil, fmt.Errorf("fetch: %w (%s is locked)", ErrBusy, path)
		}
		locked, err := f.Stat()
		named, err2 := os.Lstat(path)
		if err == nil && err2 == nil && os.SameFile(locked, named) {
			return f, nil
		}
		f.Close()
		if err2 != nil && !errors.Is(err2, os.ErrNotExist) || err != nil {
			return nil, fmt.Errorf("fetch: %w", errors.Join(err, err2))
		}
	}
}

// openPart opens or makes the part of a target and reads what it holds.
func openPart(target string) (*part, error) {
	path := PartPath(target)
	f, err := lockPart(path)
	if err != nil {
		return nil, err
	}
	p := &part{path: path, f: f, hash: sha256.New()}
	note, err := os.ReadFile(p.note())
	if err != nil || json.Unmarshal(note, &p.version) != nil {
		p.version = version{}
	}
	// Bytes of no known version can't be gone on with.
	if p.version == (version{}) {
		if err := p.reset(); err != nil {
			p.close()
			return nil, err
		}
		return p, nil
	}
	if p.size, err = io.Copy(p.hash, f); err != nil {
		p.close()
		return nil, fmt.Errorf("fetch: read %s: %w", path, err)
	}
	p.resumed = p.size
	return p, nil
}

func (p *part) note() string { return p.path + ".json" }

func (p *part) close() { p.f.Close() }

// reset forgets the bytes.
func (p *part) reset() error {
	p.hash.Reset()
	p.size, p.resumed, p.version = 0, 0, version{}
	if _, err := p.f.Seek(0, io.SeekStart); err != nil {
		return fmt.Errorf("fetch: %w", err)
	}
	if err := p.f.Truncate(0); err != nil {
		return fmt.Errorf("fetch: empty %s: %w", p.path, err)
	}
	return removeIfThere(p.note())
}

// begin notes the version whose bytes follow.
func (p *part) begin(v version) error {
	if p.version == v {
		return nil
	}
	p.version = v
	text, err := json.Marshal(v)
	if err != nil {
		return err
	}
	if err := os.WriteFile(p.note(), text, 0o644); err != nil {
		return fmt.Errorf("fetch: %w", noSpace(err))
	}
	return nil
}

// Write appends bytes.
func (p *part) Write(b []byte) (int, error) {
	n, err := p.f.Write(b)
	p.hash.Write(b[:n])
	p.size += int64(n)
	if err != nil {
		return n, fmt.Errorf("write %s: %w", p.path, noSpace(err))
	}
	return n, nil
}

func (p *part) sum() string { return hex.EncodeToString(p.hash.Sum(nil)) }

// check compares the checksum of the bytes with the expected one.
func (p *part) check(want string) error {
	if got := p.sum(); want != "" && got != want {
		return fmt.Errorf("%w: its sha256 is %s, and %s is expected", ErrChecksum, got, want)
	}
	return nil
}

// finish makes the part the target: synced, then renamed.
func (p *part) finish(target string) error {
	if err := p.f.Sync(); err != nil {
		return fmt.Errorf("fetch: sync %s: %w", p.path, noSpace(err))
	}
	if err := os.Rename(p.path, target); err != nil {
		return fmt.Errorf("fetch: %w", err)
	}
	dir, err := os.Open(filepath.Dir(target))
	if err != nil {
		return fmt.Errorf("fetch: %w", err)
	}
	return errors.Join(dir.Sync(), dir.Close(), removeIfThere(p.note()))
}
