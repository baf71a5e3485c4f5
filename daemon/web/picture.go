package web

import (
	"errors"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// maxPicture bounds a picture that is shown, in bytes.
	maxPicture  = 64 << 20
	pictureTime = 5 * time.Minute
)

// shown are the formats that are sent: bitmaps that every browser shows. What
// a file is goes by its first bytes; SVG and HTML are text there and never
// sent.
var shown = []string{"image/jpeg", "image/png", "image/webp", "image/gif", "image/bmp"}

var (
	errNotShown = errors.New("browsers don't show this format")
	errLarge    = errors.New("the file is too large to be shown")
)

// picture sends the original ("before") or the output ("after") of a file.
func (s *Server) picture(w http.ResponseWriter, r *http.Request) {
	id, err := strconv.ParseInt(r.PathValue("id"), 10, 64)
	side := r.PathValue("side")
	if err != nil || side != "before" && side != "after" {
		refuse(w, http.StatusNotFound, "there are …/jobs/NUMBER/picture/before and …/after")
		return
	}
	f, kind, err := s.openPicture(r, id, side == "after")
	switch {
	case errors.Is(err, fs.ErrNotExist):
		refuse(w, http.StatusNotFound, "there is no such picture (any more)")
		return
	case errors.Is(err, errNotShown):
		refuse(w, http.StatusUnsupportedMediaType, err.Error())
		return
	case errors.Is(err, errLarge):
		refuse(w, http.StatusRequestEntityTooLarge, err.Error())
		return
	case err != nil:
		s.opt.Log.WarnContext(r.Context(), "picture not shown", "job", id, "error", err)
		refuse(w, http.StatusInternalServerError, "the file can't be read: the daemon's log says why")
		return
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		refuse(w, http.StatusInternalServerError, "the file can't be read")
		return
	}
	h := w.Header()
	h.Set("Content-Type", kind)
	h.Set("Content-Security-Policy", "default-src 'none'; sandbox") // should it be opened by itself
	h.Set("Cache-Control", "private, no-cache")
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(pictureTime)) // else answerTime holds
	http.ServeContent(w, r, "", info.ModTime(), f)
}

// openPicture opens a file of a watched folder or its output folder for
// reading, and tells its format. Links that lead out of the folder aren't
// followed.
func (s *Server) openPicture(r *http.Request, id int64, after bool) (*os.File, string, error) {
	path, out, err := s.opt.Paths(r.Context(), id)
	if err != nil {
		return nil, "", err
	}
	if after {
		path = out
	}
	for _, folder := range s.opt.Folders() {
		top := folder.In
		if after {
			top = folder.Out
		}
		name, err := filepath.Rel(top, path)
		if path == "" || err != nil || !filepath.IsLocal(name) {
			continue
		}
		root, err := os.OpenRoot(top)
		if err != nil {
			return nil, "", err
		}
		f, err := root.OpenFile(name, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
		_ = root.Close() // it was only looked into
		if err != nil {
			return nil, "", err
		}
		kind, err := pictureKind(f)
		if err != nil {
			return nil, "", errors.Join(err, f.Close())
		}
		return f, kind, nil
	}
	return nil, "", fs.ErrNotExist
}

func pictureKind(f *os.File) (string, error) {
	info, err := f.Stat()
	switch {
	case err != nil:
		return "", err
	case !info.Mode().IsRegular():
		return "", fs.ErrNotExist
	case info.Size() > maxPicture:
		return "", errLarge
	}
	head := make([]byte, 512)
	n, err := f.ReadAt(head, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return "", err
	}
	kind, _, _ := strings.Cut(http.DetectContentType(head[:n]), ";")
	if !slices.Contains(shown, kind) {
		return "", errNotShown
	}
	return kind, nil
}
