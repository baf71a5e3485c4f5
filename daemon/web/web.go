package web

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/net/netutil"
)

const (
	// maxConnections bounds the open connections. Each page that is looked at
	// has one for its events, and one or two more.
	maxConnections = 256
	maxHeader      = 32 << 10 // bytes
	// maxBody bounds what a request that isn't an upload may carry, in bytes.
	maxBody = 16 << 10
	// answerTime is longer than the longest request that isn't a stream takes:
	// a cancellation waits 30 seconds.
	answerTime = 45 * time.Second
)

// Options are the daemon as the page needs it, and who may see it.
type Options struct {
	Listen string   // IP:PORT or localhost:PORT; port 0 = any
	Token  string   // "" = nobody is asked
	Hosts  []string // names of this machine, in lower case, besides Listen's and localhost
	Upload int64    // most bytes of one file

	Metrics *prometheus.Registry // is served under /metrics, with the folders' health added
	API     http.Handler         // of all below /v1 that this package doesn't answer
	Queue   http.Handler         // is served under QueuePrefix
	// Paths gives the original and the output ("" = none yet) of a file by its
	// number. fs.ErrNotExist = there is none.
	Paths func(ctx context.Context, id int64) (in, out string, err error)
	// Shot gives the time in seconds of a moment that the report on a video names,
	// counted from 0. fs.ErrNotExist = there is none.
	Shot func(ctx context.Context, id int64, n int) (float64, error)
	// Preview makes a JPEG, see daemon.Deps; nil = nobody does. They are kept in
	// the folder Previews, which belongs to this package.
	Preview  func(ctx context.Context, in string, side int, at float64) ([]byte, error)
	Previews string

	Folders func() []Folder
	Takes   func(in, name string) bool // whether a watched folder takes a file of this name
	Free    func(dir string) (int64, error)
	// Store writes size bytes of body as a new file of a watched folder, whole
	// or not at all. fs.ErrExist = the name is taken, [ErrNoRoom] = it would
	// not fit.
	Store func(in, name string, size int64, body io.Reader) error
	About About
	Log   *slog.Logger
}

// ErrNoRoom is a disk without room for an upload.
var ErrNoRoom = errors.New("no room")

// About says with what the daemon works.
type About struct {
	Version  string `json:"version"`
	Model    string `json:"model"`
	Provider string `json:"provider"`
}

// Server answers at the address until Close.
type Server struct {
	opt      Options
	listener net.Listener
	http     *http.Server
	uploads  chan struct{} // a place for each under way
	health   health
	previews *previews
	tries    tries
	end      context.CancelFunc // of what requests do
	ended    chan struct{}
}

// Serve takes the address and answers there, also when ctx is done. The caller
// calls Close.
func Serve(ctx context.Context, opt Options) (*Server, error) {
	made, err := openPreviews(opt.Previews, opt.Preview)
	if err != nil {
		return nil, err
	}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", opt.Listen)
	if err != nil {
		return nil, fmt.Errorf("http.listen: %w", err)
	}
	ctx, end := context.WithCancel(context.WithoutCancel(ctx))
	s := &Server{
		opt: opt, listener: listener, uploads: make(chan struct{}, maxUploads),
		health: health{asked: map[string]*answer{}}, previews: made, end: end, ended: make(chan struct{}),
	}
	s.http = &http.Server{
		Handler:           s.handler(),
		BaseContext:       func(net.Listener) context.Context { return ctx },
		ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 15 * time.Second,
		WriteTimeout: answerTime, IdleTimeout: time.Minute, MaxHeaderBytes: maxHeader,
		ErrorLog: slog.NewLogLogger(opt.Log.Handler(), slog.LevelDebug), // what strangers send
	}
	go func() {
		defer close(s.ended)
		err := s.http.Serve(netutil.LimitListener(s.listener, maxConnections))
		if !errors.Is(err, http.ErrServerClosed) {
			opt.Log.Warn("the page is closed", "error", err)
		}
	}()
	return s, nil
}

// Addr is the address with the port that it got.
func (s *Server) Addr() string { return s.listener.Addr().String() }

// Close gives the address up. Requests get a second to end; an upload that is
// under way leaves nothing. It may be called again.
func (s *Server) Close() {
	s.end()
	late, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	if s.http.Shutdown(late) != nil {
		_ = s.http.Close() // who still waits for an answer gets none
	}
	<-s.ended
}

func (s *Server) handler() http.Handler {
	api := http.NewServeMux()
	api.Handle("/v1/", s.opt.API)
	api.HandleFunc("GET /v1/about", s.about)
	api.HandleFunc("GET /v1/jobs/{id}/picture/{side}", s.picture)
	api.HandleFunc("GET /v1/jobs/{id}/thumbnail", s.thumbnail)
	api.HandleFunc("GET /v1/jobs/{id}/shot/{shot}/{side}", s.shot)
	api.HandleFunc("POST /v1/folders/{folder}/files", s.upload)
	mux := http.NewServeMux()
	mux.Handle("/", page())
	mux.Handle("/v1/", s.private(api))
	mux.Handle(QueuePrefix+"/", s.queue())
	mux.Handle("GET "+QueuePrefix, http.RedirectHandler(QueuePrefix+"/", http.StatusSeeOther))
	mux.Handle("GET /metrics", s.private(s.metrics()))
	mux.HandleFunc("POST /v1/session", s.login)
	mux.HandleFunc("DELETE /v1/session", s.logout)
	return s.guard(mux)
}

// aboutInfo is the answer to about.
type aboutInfo struct {
	About
	Login       bool         `json:"login"`        // there is a token, and so something to log out of
	UploadLimit int64        `json:"upload_limit"` // bytes
	Folders     []FolderInfo `json:"folders"`
}

func (s *Server) about(w http.ResponseWriter, r *http.Request) {
	send(w, http.StatusOK, aboutInfo{s.opt.About, s.opt.Token != "", s.opt.Upload, s.folders(r.Context())})
}

func send(w http.ResponseWriter, code int, value any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(value) // the client has gone
}

// refuse answers as the daemon's API does.
func refuse(w http.ResponseWriter, code int, why string) {
	send(w, code, map[string]string{"error": why})
}
