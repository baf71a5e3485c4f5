package daemon

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"restored/daemon/web"
)

// uploadPrefix begins the names of uploads under way, which the watcher passes
// over and the next start removes. It tells them apart from another daemon's
// temporaries, whose output folder may be watched here.
const uploadPrefix = tempPrefix + "upload-"

// store writes size bytes of body as a new file of a watched folder, whole or
// not at all, as [web.Options].Store.
func (r room) store(dir, name string, size int64, body io.Reader) error {
	var none *noRoomError
	if err := r.check(need{dir, size}); errors.As(err, &none) {
		return fmt.Errorf("%w: %w", web.ErrNoRoom, err)
	} else if err != nil {
		return err
	}
	return writeNew(filepath.Join(dir, name), uploadPrefix, func(f *os.File) error {
		if n, err := io.Copy(f, io.LimitReader(body, size)); err != nil {
			return err
		} else if n < size {
			return io.ErrUnexpectedEOF
		}
		_ = f.Chmod(0o640) // some file systems have no permissions
		return nil
	})
}

// writeNew makes a file that isn't there yet, whole or not at all. prefix begins
// the name of its temporary, which lies beside it.
func writeNew(path, prefix string, fill func(*os.File) error) error {
	dir := filepath.Dir(path)
	f, err := os.CreateTemp(dir, prefix+"*"+tempSuffix)
	if err != nil {
		return err
	}
	if err = fill(f); err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = renameNew(f.Name(), path)
	}
	if err != nil {
		return errors.Join(err, removeTemp(f))
	}
	return syncDir(dir)
}
