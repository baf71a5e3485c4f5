package web

import (
	"context"
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
	// maxPicture bounds a picture that is sent as it is, in bytes.
	maxPicture  = 64 << 20
	pictureTime = 5 * time.Minute
)

// shown are the formats that are sent: bitmaps that every browser shows. What
// a file is goes by its first bytes; SVG and HTML are text there and never
// sent.
var shown = []string{"image/jpeg", "image/png", "image/webp", "image/gif", "image/bmp"}

var errNotShown = errors.New("browsers don't show this format")

// The sides of a file.
const (
	before = "before" // the original
	after  = "after"  // the output
)

// picture sends a side of a photo: the file itself where browsers show its format
// and it isn't too large, else a preview.
func (s *Server) picture(w http.ResponseWriter, r *http.Request) {
	id, err := strconv.ParseInt(r.PathValue("id"), 10, 64)
	side := r.PathValue("side")
	if err != nil || side != before && side != after {
		refuse(w, http.StatusNotFound, "there are …/jobs/NUMBER/picture/before and …/after")
		return
	}
	f, kind, err := s.openPicture(r.Context(), id, side)
	s.sendPicture(w, r, id, f, kind, err)
}

func (s *Server) openPicture(ctx context.Context, id int64, side string) (*os.File, string, error) {
	f, path, err := s.openSide(ctx, id, side)
	if err != nil {
		return nil, "", err
	}
	kind, err := pictureKind(f)
	if err == nil {
		return f, kind, nil
	}
	defer f.Close()
	if !errors.Is(err, errNotShown) {
		return nil, "", err
	}
	made, err := s.preview(ctx, f, path, id, side, previewSide, -1)
	return made, "image/jpeg", err
}

// thumbnail sends a small picture of a photo or video: of the original, or of
// the output where that has gone.
func (s *Server) thumbnail(w http.ResponseWriter, r *http.Request) {
	id, err := strconv.ParseInt(r.PathValue("id"), 10, 64)
	if err != nil {
		refuse(w, http.StatusNotFound, "there is …/jobs/NUMBER/thumbnail")
		return
	}
	made, err := s.small(r.Context(), id, before, thumbnailSide, -1)
	if errors.Is(err, fs.ErrNotExist) {
		made, err = s.small(r.Context(), id, after, thumbnailSide, -1)
	}
	s.sendPicture(w, r, id, made, "image/jpeg", err)
}

// shot sends a side of a video at one of the moments that its report names.
func (s *Server) shot(w http.ResponseWriter, r *http.Request) {
	id, err := strconv.ParseInt(r.PathValue("id"), 10, 64)
	n, err2 := strconv.Atoi(r.PathValue("shot"))
	side := r.PathValue("side")
	if err != nil || err2 != nil || n < 0 || side != before && side != after {
		refuse(w, http.StatusNotFound, "there are …/jobs/NUMBER/shot/NUMBER/before and …/after")
		return
	}
	var made *os.File
	at, err := s.opt.Shot(r.Context(), id, n)
	if err == nil {
		made, err = s.small(r.Context(), id, side, previewSide, at)
	}
	s.sendPicture(w, r, id, made, "image/jpeg", err)
}

// small opens a preview of a side of a file.
func (s *Server) small(ctx context.Context, id int64, side string, size int, at float64) (*os.File, error) {
	f, path, err := s.openSide(ctx, id, side)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return s.preview(ctx, f, path, id, side, size, at)
}

func (s *Server) preview(ctx context.Context, f *os.File, path string, id int64, side string, size int, at float64) (*os.File, error) {
	return s.previews.get(ctx, f, path, size, at, func() (*os.File, error) {
		f, _, err := s.openSide(context.WithoutCancel(ctx), id, side)
		return f, err
	})
}

// sendPicture sends what was opened, and closes it, or says why there is nothing.
func (s *Server) sendPicture(w http.ResponseWriter, r *http.Request, id int64, f *os.File, kind string, err error) {
	switch {
	case err != nil && r.Context().Err() != nil:
		return // who asked has gone
	case errors.Is(err, fs.ErrNotExist):
		refuse(w, http.StatusNotFound, "there is no such picture (any more)")
		return
	case errors.Is(err, errNotShown), errors.Is(err, errNoPreview):
		s.opt.Log.DebugContext(r.Context(), "picture not shown", "job", id, "error", err)
		refuse(w, http.StatusUnsupportedMediaType, "there is no picture of this file: it isn't one, or is damaged")
		return
	case errors.Is(err, errBusy):
		w.Header().Set("Retry-After", "5")
		refuse(w, http.StatusServiceUnavailable, err.Error())
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

// openSide opens a file of a watched folder or its output folder for reading.
// Links that lead out of the folder aren't followed.
func (s *Server) openSide(ctx context.Context, id int64, side string) (*os.File, string, error) {
	path, out, err := s.opt.Paths(ctx, id)
	if err != nil {
		return nil, "", err
	}
	if side == after {
		path = out
	}
	for _, folder := range s.opt.Folders() {
		top := folder.In
		if side == after {
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
		info, err := f.Stat()
		if err == nil && !info.Mode().IsRegular() {
			err = fs.ErrNotExist
		}
		if err != nil {
			return nil, "", errors.Join(err, f.Close())
		}
		return f, path, nil
	}
	return nil, "", fs.ErrNotExist
}

// pictureKind is the format of a file that is sent as it is.
func pictureKind(f *os.File) (string, error) {
	info, err := f.Stat()
	if err != nil {
		return "", err
	}
	if info.Size() > maxPicture {
		return "", errNotShown
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
