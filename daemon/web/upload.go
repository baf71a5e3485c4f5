package web

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"strings"
	"syscall"
	"time"
	"unicode"
	"unicode/utf8"
)

const (
	// maxUploads bounds the uploads under way.
	maxUploads = 4
	// uploadStall is how long an upload may send nothing.
	uploadStall = 30 * time.Second
)

func isUpload(r *http.Request) bool {
	return r.Method == http.MethodPost && strings.HasPrefix(r.URL.Path, "/v1/folders/")
}

// upload takes a file for a watched folder: its name in the query, its bytes
// as the body.
func (s *Server) upload(w http.ResponseWriter, r *http.Request) {
	name := r.URL.Query().Get("name")
	in, known := s.folder(r.PathValue("folder"))
	code, why := 0, ""
	switch {
	case !known:
		code, why = http.StatusNotFound, "there is no such folder: GET /v1/about lists them"
	case checkName(name) != nil:
		code, why = http.StatusBadRequest, checkName(name).Error()
	case !s.opt.Takes(in, name):
		code, why = http.StatusUnsupportedMediaType, fmt.Sprintf("no file named like %q is taken from this folder", name)
	case r.Header.Get("Content-Encoding") != "":
		code, why = http.StatusUnsupportedMediaType, "files are taken as they are, without Content-Encoding"
	case r.ContentLength < 0:
		code, why = http.StatusLengthRequired, "the size must be told beforehand, by Content-Length"
	case r.ContentLength == 0:
		code, why = http.StatusBadRequest, "the file is empty"
	case r.ContentLength > s.opt.Upload:
		code, why = http.StatusRequestEntityTooLarge, fmt.Sprintf("the file has %d bytes, and %d are allowed (http.upload)", r.ContentLength, s.opt.Upload)
	}
	if code != 0 {
		refuse(w, code, why)
		return
	}
	select {
	case s.uploads <- struct{}{}:
		defer func() { <-s.uploads }()
	default:
		w.Header().Set("Retry-After", "10")
		refuse(w, http.StatusServiceUnavailable, fmt.Sprintf("%d uploads are under way: try again later", maxUploads))
		return
	}
	control := http.NewResponseController(w)
	if err := control.SetWriteDeadline(time.Time{}); err != nil {
		refuse(w, http.StatusInternalServerError, err.Error())
		return
	}
	err := s.opt.Store(in, name, r.ContentLength, &patient{r.Body, control})
	if err != nil {
		code, why := uploadError(name, in, err)
		s.opt.Log.WarnContext(r.Context(), "upload failed", "file", name, "stage", "upload", "error", err)
		refuse(w, code, why)
		return
	}
	s.opt.Log.InfoContext(r.Context(), "uploaded", "file", name, "stage", "upload")
	send(w, http.StatusCreated, map[string]string{"name": name})
}

func uploadError(name, in string, err error) (code int, why string) {
	switch {
	case errors.Is(err, fs.ErrExist):
		return http.StatusConflict, fmt.Sprintf("there is a file %q in %s already, and it isn't overwritten", name, in)
	case errors.Is(err, ErrNoRoom):
		return http.StatusInsufficientStorage, err.Error()
	case errors.Is(err, io.ErrUnexpectedEOF):
		return http.StatusBadRequest, "the upload ended early"
	case errors.Is(err, syscall.EROFS), errors.Is(err, fs.ErrPermission):
		return http.StatusForbidden, fmt.Sprintf("the daemon may not write to %s: see ReadWritePaths in the unit, and the folder's permissions", in)
	}
	return http.StatusInternalServerError, "the file wasn't saved: the daemon's log says why"
}

// checkName refuses what isn't the plain name of one visible file.
func checkName(name string) error {
	switch {
	case name == "":
		return errors.New("the name is missing: ?name=…")
	case len(name) > 255 || !utf8.ValidString(name):
		return errors.New("the name must be UTF-8 of at most 255 bytes")
	case strings.ContainsAny(name, `/\`) || strings.ContainsFunc(name, func(r rune) bool { return !unicode.IsPrint(r) }):
		return errors.New("the name must not contain slashes or characters that don't print")
	case name[0] == '.':
		return errors.New("the name must not begin with a dot")
	}
	return nil
}

// patient reads an upload for as long as something comes.
type patient struct {
	from    io.Reader
	control *http.ResponseController
}

func (p *patient) Read(b []byte) (int, error) {
	if err := p.control.SetReadDeadline(time.Now().Add(uploadStall)); err != nil {
		return 0, err
	}
	return p.from.Read(b)
}
