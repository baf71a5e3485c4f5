package daemon

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// This file knows files by their content: one that was only touched isn't done
// again, and a copy or a renamed file gets a copy of the output that is there.

// maxTwins bounds the files of the same content that are looked at for an
// output that can be copied.
const maxTwins = 8

// hashFile is the SHA-256 of a file's content. The error is an *errUnread if
// the file isn't the wanted version, before or after.
func hashFile(ctx context.Context, path string, want Version) (string, error) {
	f, err := openVersion(path, want)
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, reader{ctx, f}); err != nil {
		return "", fmt.Errorf("read %s: %w", path, err)
	}
	if err := isVersion(f, want); err != nil {
		return "", err
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// openVersion opens a regular file to read if it is the wanted version.
func openVersion(path string, want Version) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, &errUnread{"the file is not there any more"}
	}
	if err != nil {
		return nil, err
	}
	if err := isVersion(f, want); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

func isVersion(f *os.File, want Version) error {
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() || versionOf(info) != want {
		return &errUnread{"the file has changed since it was queued"}
	}
	return nil
}

// reader reads until its context ends.
type reader struct {
	ctx context.Context
	io.Reader
}

func (r reader) Read(b []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	return r.Reader.Read(b)
}

// identify fills in the content of the version that is in work, which is read
// unless that was noted before, and the settings it is worked on with.
func identify(ctx context.Context, rec *Record, settings string) (err error) {
	rec.Settings = settings
	if rec.Content == "" {
		rec.Content, err = hashFile(ctx, rec.Path, rec.Version)
	}
	return err
}

// describe notes the content and the settings.
func (l *Ledger) describe(ctx context.Context, rec *Record, content, settings string) error {
	err := l.move(ctx, rec.ID, "describe", "UPDATE files SET content = $1, settings = $2 WHERE id = $3", content, settings, rec.ID)
	if err != nil {
		return Transient(err)
	}
	rec.Content, rec.Settings = content, settings
	return nil
}

// twin is a finished file of the same content.
type twin struct {
	Record
	target string // where the file's own output belongs
	size   int64  // of the output
}

// twin looks for a finished file of the same content, whose output is as it
// was written. That may be the file itself, which was only touched: then what
// it was made with doesn't matter. Another one must have been made with the
// same settings. nil = there is none.
func (l *Ledger) twin(ctx context.Context, rec Record, out string) (*twin, error) {
	rows, err := l.db.QueryContext(ctx, "SELECT "+recordColumns+`, out_size, out_mtime_ns FROM files
		WHERE done_content = $1 AND (id = $2 OR done_settings = $3 AND $3 <> '' AND out <> '') AND (claimed = 1 AND writing = 0 OR out = '')
		ORDER BY id = $2 DESC, finished_ms DESC LIMIT $4`, rec.Content, rec.ID, rec.Settings, maxTwins)
	if err != nil {
		return nil, fmt.Errorf("ledger: look for the content of %s: %w", rec.Path, err)
	}
	defer rows.Close()
	var candidates []*twin
	for rows.Next() {
		var t twin
		var size, mtime sql.NullInt64
		if t.Record, err = l.scanRecord(rows, &size, &mtime); err != nil {
			return nil, fmt.Errorf("ledger: look for the content of %s: %w", rec.Path, err)
		}
		if t.Out == "" { // it was left without an output on purpose, as far as it ever had none
			if !size.Valid {
				candidates = append(candidates, &t)
			}
			continue
		}
		info, err := os.Lstat(t.Out)
		if err != nil || !info.Mode().IsRegular() || !same(info, size, mtime) {
			continue
		}
		if t.target, t.size = twinTarget(t.Record, rec, out), info.Size(); t.target == "" {
			continue
		}
		candidates = append(candidates, &t)
	}
	if err := errors.Join(rows.Err(), rows.Close()); err != nil {
		return nil, fmt.Errorf("ledger: look for the content of %s: %w", rec.Path, err)
	}
	for _, t := range candidates {
		if t.ID != rec.ID || t.target == t.Out {
			return t, nil
		}
	}
	return nil, nil
}

// twinTarget is where the output of a file belongs that has the same content as
// another: out, or, where the other's name was given an extension, with the
// same. "" = the names don't say.
func twinTarget(done, rec Record, out string) string {
	added, ok := strings.CutPrefix(filepath.Base(done.Out), filepath.Base(done.Path))
	if !ok || !strings.EqualFold(filepath.Ext(done.Path), filepath.Ext(rec.Path)) {
		return ""
	}
	return out + added
}

// provide gives a file the output of its twin. errNoTwin: it is gone or changed
// meanwhile, and the file is to be worked on.
func (l *Ledger) provide(ctx context.Context, rec *Record, t *twin, top string) (Result, error) {
	res := Result{Out: t.target, Report: t.Report, sameAs: t.Path}
	if t.ID == rec.ID {
		return res, l.describe(ctx, rec, rec.Content, t.DoneSettings)
	}
	if err := makeDirs(top, filepath.Dir(t.target)); err != nil {
		return Result{}, err
	}
	overwrite, err := l.claim(ctx, rec.ID, t.target, false)
	if err != nil {
		return Result{}, err
	}
	return res, copyOutput(ctx, t, overwrite)
}

// errNoTwin is an output that isn't there to be copied any more.
var errNoTwin = errors.New("the output of the same content is not there any more")

// copyOutput copies an output, not by a hard link: who edits one of the two
// must not change the other. Filesystems that share blocks do so for the copy.
func copyOutput(ctx context.Context, t *twin, overwrite bool) (err error) {
	src, err := os.OpenFile(t.Out, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return errors.Join(errNoTwin, err)
	}
	defer src.Close()
	before, err := src.Stat()
	if err != nil {
		return err
	}
	if before.Size() != t.size {
		return errNoTwin
	}
	tmp, err := os.CreateTemp(filepath.Dir(t.target), tempPrefix+"*"+tempSuffix)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, removeTemp(tmp))
		}
	}()
	var unread *errUnread
	if err := copyInto(ctx, tmp, src, before); errors.As(err, &unread) {
		return errNoTwin
	} else if err != nil {
		return fmt.Errorf("copy %s: %w", t.Out, err)
	}
	if overwrite {
		err = os.Rename(tmp.Name(), t.target)
	} else {
		err = renameNew(tmp.Name(), t.target)
	}
	if err != nil {
		return err
	}
	return syncDir(filepath.Dir(t.target))
}

// copyInto fills a temporary with what an open file holds, gives it the mode
// and the time of that file, and sees it onto the disk. An *errUnread says
// that the file changed meanwhile.
func copyInto(ctx context.Context, tmp, src *os.File, like os.FileInfo) error {
	// In pieces, so that ctx is asked; the system copies each by itself.
	for {
		_, err := io.CopyN(tmp, src, copyPiece)
		if errors.Is(err, io.EOF) {
			break
		}
		if err := errors.Join(err, ctx.Err()); err != nil {
			return err
		}
	}
	if err := isVersion(src, versionOf(like)); err != nil {
		return err
	}
	if info, err := tmp.Stat(); err != nil || info.Size() != like.Size() {
		return errors.Join(err, errors.New("the copy has another size"))
	}
	if err := tmp.Chmod(like.Mode().Perm()); err != nil && !errors.Is(err, fs.ErrPermission) {
		return err
	}
	if err := os.Chtimes(tmp.Name(), like.ModTime(), like.ModTime()); err != nil {
		return err
	}
	return errors.Join(tmp.Sync(), tmp.Close())
}

// copyPiece is how much is copied between two looks at the context.
const copyPiece = 64 << 20

func removeTemp(tmp *os.File) error {
	tmp.Close() // a second Close is harmless
	if err := os.Remove(tmp.Name()); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// renameNew renames to a path at which nothing lies. The error is fs.ErrExist
// where something does.
func renameNew(from, to string) error {
	err := unix.Renameat2(unix.AT_FDCWD, from, unix.AT_FDCWD, to, unix.RENAME_NOREPLACE)
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOSYS) || errors.Is(err, unix.ENOTSUP) {
		// NFS and FAT don't know it. A hard link doesn't replace either; where
		// there are none, a look must do.
		if err = os.Link(from, to); err == nil {
			return os.Remove(from)
		}
		if _, look := os.Lstat(to); errors.Is(look, fs.ErrNotExist) {
			return os.Rename(from, to)
		}
		err = fs.ErrExist
	}
	if err != nil {
		return &os.LinkError{Op: "rename", Old: from, New: to, Err: err}
	}
	return nil
}
