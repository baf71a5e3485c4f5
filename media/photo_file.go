package media

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// Temporary files are named TempPrefix + tag + random + TempSuffix and lie in the
// folder of the file they become. A crash may leave one; it can be removed.
const (
	TempPrefix = ".restored-"
	TempSuffix = ".tmp"
)

// tempTag is a part of the names of all temporaries of this process.
var tempTag string

// TagTemps puts a tag, of letters and digits and different for each process
// that has one, into the names of all temporaries, so that RemoveTemps finds
// them. It is called before any work, if at all.
func TagTemps(tag string) { tempTag = tag + "-" }

// RemoveTemps removes from a folder the temporaries of the process that had
// the tag and has ended. A folder that isn't there has none.
func RemoveTemps(dir, tag string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("remove temporaries: %w", err)
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), TempPrefix+tag+"-") && strings.HasSuffix(e.Name(), TempSuffix) && e.Type().IsRegular() {
			if e := os.Remove(filepath.Join(dir, e.Name())); e != nil && !errors.Is(e, fs.ErrNotExist) {
				err = errors.Join(err, fmt.Errorf("remove temporaries: %w", e))
			}
		}
	}
	return err
}

// createTemp makes a temporary in the folder of the file that it becomes.
func createTemp(dir string) (*os.File, error) {
	f, err := os.CreateTemp(dir, TempPrefix+tempTag+"*"+TempSuffix)
	if err != nil {
		return nil, fmt.Errorf("make temporary file: %w", err)
	}
	return f, nil
}

// CopyFile makes dst a byte-identical copy of src with its mode, time and,
// where permitted, owner. dst appears only complete. If dst exists and
// overwrite is false the error is ErrExists.
func CopyFile(ctx context.Context, src, dst string, overwrite bool) error {
	f, err := openRegular(src)
	if err != nil {
		return err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return fmt.Errorf("copy %s: %w", src, err)
	}
	n, err := writeAtomic(dst, st, overwrite, func(w io.Writer) error {
		_, err := io.Copy(w, cancelled{ctx, f})
		return err
	})
	if err != nil {
		return fmt.Errorf("copy %s: %w", src, err)
	}
	if n != st.Size() {
		return fmt.Errorf("copy %s: %d bytes became %d: the file was changed meanwhile", src, st.Size(), n)
	}
	return nil
}

// cancelled is a reader until its context ends.
type cancelled struct {
	ctx context.Context
	io.Reader
}

func (c cancelled) Read(b []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	return c.Reader.Read(b)
}

// openRegular opens a file to read and refuses what isn't a regular file; it
// doesn't wait for a pipe's other end.
func openRegular(path string) (*os.File, error) { return openRegularAs(path, ErrNotPhoto) }

func openRegularAs(path string, not error) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK|unix.O_NOCTTY, 0)
	if err != nil {
		return nil, fmt.Errorf("open: %w", err)
	}
	st, err := f.Stat()
	if err == nil && !st.Mode().IsRegular() {
		err = fmt.Errorf("%w: not a regular file (%s)", not, kindOf(st.Mode()))
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	return f, nil
}

func kindOf(m fs.FileMode) string {
	if m.IsDir() {
		return "folder"
	}
	return m.Type().String()
}

// WriteFile makes path hold what fill writes: it appears complete, and whole on
// the disk, or not at all. It replaces a file that lies there. Missing folders are
// made. like gives the mode, time and owner as for a photo's copy; nil means
// the defaults of a new file.
func WriteFile(path string, like fs.FileInfo, fill func(io.Writer) error) error {
	_, err := writeAtomic(path, like, true, fill)
	return err
}

// writeAtomic makes path hold what fill writes, with the mode, modification
// time and (where permitted) owner of like, if it isn't nil. Missing folders are made. At every
// moment path is absent, as it was before, or complete. It returns the size.
func writeAtomic(path string, like fs.FileInfo, overwrite bool, fill func(io.Writer) error) (n int64, err error) {
	dir := filepath.Dir(path)
	if err := free(path, like, overwrite); err != nil {
		return 0, err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return 0, fmt.Errorf("make folder: %w", err)
	}
	f, err := createTemp(dir)
	if err != nil {
		return 0, err
	}
	tmp := f.Name()
	defer func() {
		if err != nil {
			f.Close() // a second Close is harmless
			if e := os.Remove(tmp); e != nil && !errors.Is(e, fs.ErrNotExist) {
				err = errors.Join(err, e)
			}
			if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
				err = fmt.Errorf("no space left in %s: free some and try again: %w", dir, err)
			}
		}
	}()
	w := bufio.NewWriterSize(f, 256<<10)
	if err = fill(w); err != nil {
		return 0, fmt.Errorf("write %s: %w", path, err)
	}
	if err = w.Flush(); err != nil {
		return 0, fmt.Errorf("write %s: %w", path, err)
	}
	if n, err = f.Seek(0, io.SeekCurrent); err != nil {
		return 0, fmt.Errorf("write %s: %w", path, err)
	}
	if err = finish(f, like); err != nil {
		return 0, fmt.Errorf("write %s: %w", path, err)
	}
	if err = rename(tmp, path, overwrite); err != nil {
		return 0, err
	}
	return n, syncFolder(dir)
}

// free tells early whether path may be written.
func free(path string, like fs.FileInfo, overwrite bool) error {
	st, err := os.Stat(path)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return fmt.Errorf("look at %s: %w", path, err)
	}
	if like != nil && os.SameFile(st, like) {
		return fmt.Errorf("%w: %s is the original itself", ErrExists, path)
	}
	if st.IsDir() || !overwrite {
		return fmt.Errorf("%w: %s", ErrExists, path)
	}
	return nil
}

// finish gives f the outer properties of like, puts it on disk and closes it.
func finish(f *os.File, like fs.FileInfo) error {
	if like == nil {
		if err := f.Chmod(0o644); err != nil && !errors.Is(err, fs.ErrPermission) {
			return err
		}
		return syncClose(f)
	}
	if s, ok := like.Sys().(*syscall.Stat_t); ok {
		// Only root may give files away; the group may be one we aren't in.
		if err := f.Chown(int(s.Uid), int(s.Gid)); err != nil && !errors.Is(err, fs.ErrPermission) && !errors.Is(err, errors.ErrUnsupported) {
			return err
		}
	}
	if err := f.Chmod(like.Mode().Perm()); err != nil && !errors.Is(err, fs.ErrPermission) {
		return err
	}
	if err := os.Chtimes(f.Name(), like.ModTime(), like.ModTime()); err != nil {
		return err
	}
	return syncClose(f)
}

func syncClose(f *os.File) error {
	if err := f.Sync(); err != nil {
		return err
	}
	return f.Close()
}

// rename moves tmp to path in one step. File systems that don't know
// RENAME_NOREPLACE (NFS, FAT) get a hard link, or, without links, a look first.
func rename(tmp, path string, overwrite bool) error {
	if overwrite {
		if err := os.Rename(tmp, path); err != nil {
			return fmt.Errorf("rename: %w", err)
		}
		return nil
	}
	err := unix.Renameat2(unix.AT_FDCWD, tmp, unix.AT_FDCWD, path, unix.RENAME_NOREPLACE)
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOSYS) || errors.Is(err, unix.ENOTSUP) {
		if err = os.Link(tmp, path); err == nil {
			return os.Remove(tmp)
		}
		if !errors.Is(err, fs.ErrExist) {
			if _, e := os.Lstat(path); errors.Is(e, fs.ErrNotExist) {
				err = os.Rename(tmp, path)
			} else {
				err = fs.ErrExist
			}
		}
	}
	if errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("%w: %s", ErrExists, path)
	}
	if err != nil {
		return fmt.Errorf("rename to %s: %w", path, err)
	}
	return nil
}

func syncFolder(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("sync folder: %w", err)
	}
	err = d.Sync()
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOTSUP) {
		err = nil // a file system without it
	}
	if err = errors.Join(err, d.Close()); err != nil {
		return fmt.Errorf("sync folder %s: %w", dir, err)
	}
	return nil
}
