package daemon

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"time"
)

// socketName is the daemon's socket in the state folder.
const socketName = "control.sock"

const (
	// socketMode lets the group in: who may read the state folder may control.
	socketMode = 0o660
	// cancelWait bounds how long a request waits for cancelled work.
	cancelWait = 30 * time.Second
	// maxAnswer bounds what a client takes, in bytes.
	maxAnswer = 64 << 20
)

// statusOf maps an error of Control to HTTP.
func statusOf(err error) int {
	switch {
	case errors.Is(err, ErrUnknown):
		return http.StatusNotFound
	case errors.Is(err, ErrConflict):
		return http.StatusConflict
	case errors.Is(err, errBadRequest):
		return http.StatusBadRequest
	case errors.Is(err, ErrBusy):
		return http.StatusServiceUnavailable
	}
	return http.StatusInternalServerError
}

var errBadRequest = errors.New("bad request")

// Handler is the API of a Control: JSON, without authentication, which is the
// listener's.
//
//	GET  /v1/queue                           QueueInfo
//	POST /v1/queue/pause, /v1/queue/resume   QueueInfo
//	GET  /v1/jobs?state=S&after=N&limit=N    Page, by rising numbers; &newest=1: by falling ones
//	GET  /v1/jobs/find?path=P                {"id": N}, by the absolute path, any bytes
//	GET  /v1/jobs/{id}                       JobInfo
//	POST /v1/jobs/{id}/retry, …/cancel       JobInfo
//	GET  /v1/workers                         WorkerList
//	GET  /v1/events                          server-sent events "status", each an Event
//
// An error is {"error": "…"} with status 400, 404 ([ErrUnknown]), 409
// ([ErrConflict]), 503 ([ErrBusy]) or 500.
func (c *Control) Handler() http.Handler {
	mux := http.NewServeMux()
	queue := func(f func(context.Context) (QueueInfo, error)) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			info, err := f(r.Context())
			reply(w, info, err)
		}
	}
	job := func(f func(context.Context, int64) (JobInfo, error)) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			ctx, cancel := context.WithTimeout(r.Context(), cancelWait)
			defer cancel()
			id, err := number(r.PathValue("id"))
			var info JobInfo
			if err == nil {
				info, err = f(ctx, id)
			}
			reply(w, info, err)
		}
	}
	mux.HandleFunc("GET /v1/queue", queue(c.Status))
	mux.HandleFunc("POST /v1/queue/pause", queue(c.Pause))
	mux.HandleFunc("POST /v1/queue/resume", queue(c.Resume))
	mux.HandleFunc("GET /v1/jobs", func(w http.ResponseWriter, r *http.Request) {
		page, err := c.listRequest(r.Context(), r.URL.Query())
		reply(w, page, err)
	})
	mux.HandleFunc("GET /v1/jobs/find", func(w http.ResponseWriter, r *http.Request) {
		id, err := c.Find(r.Context(), r.URL.Query().Get("path"))
		reply(w, foundID{id}, err)
	})
	mux.HandleFunc("GET /v1/jobs/{id}", job(c.Show))
	mux.HandleFunc("POST /v1/jobs/{id}/retry", job(c.Retry))
	mux.HandleFunc("POST /v1/jobs/{id}/cancel", job(c.Cancel))
	mux.HandleFunc("GET /v1/workers", func(w http.ResponseWriter, r *http.Request) {
		list, err := c.Workers(r.Context())
		reply(w, list, err)
	})
	mux.HandleFunc("GET /v1/events", c.serveEvents)
	return mux
}

// foundID is the answer to find.
type foundID struct {
	ID int64 `json:"id"`
}

// listRequest does List with the arguments of a request.
func (c *Control) listRequest(ctx context.Context, args url.Values) (Page, error) {
	state := State(args.Get("state"))
	switch state {
	case "", Queued, Running, Done, Failed:
	default:
		return Page{}, fmt.Errorf("%w: no state %q; there are queued, running, done and failed", errBadRequest, state)
	}
	var after, limit int64
	var err error
	if text := args.Get("after"); text != "" {
		after, err = number(text)
	}
	if text := args.Get("limit"); text != "" && err == nil {
		if limit, err = number(text); err == nil && (limit < 1 || limit > MaxPage) {
			err = fmt.Errorf("%w: limit must be from 1 to %d", errBadRequest, MaxPage)
		}
	}
	if err != nil {
		return Page{}, err
	}
	switch newest := args.Get("newest"); newest {
	case "":
		return c.List(ctx, state, after, int(limit))
	case "1":
		return c.Newest(ctx, state, after, int(limit))
	default:
		return Page{}, fmt.Errorf("%w: newest is 1 or not there, not %q", errBadRequest, newest)
	}
}

func number(text string) (int64, error) {
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("%w: %q is no number", errBadRequest, text)
	}
	return n, nil
}

func reply(w http.ResponseWriter, value any, err error) {
	w.Header().Set("Content-Type", "application/json")
	if err != nil {
		w.WriteHeader(statusOf(err))
		value = apiError{err.Error()}
	}
	_ = json.NewEncoder(w).Encode(value) // the client has gone
}

// apiError is the body of an answer that is no success.
type apiError struct {
	Error string `json:"error"`
}

// serveControl answers on the socket in the state folder, whose lock the caller
// holds, until stop is called. Where there can be no socket the daemon works on
// without.
func serveControl(ctx context.Context, c *Control, state string, log *slog.Logger) (stop func()) {
	listener, err := listenControl(state)
	if err != nil {
		log.WarnContext(ctx, "no socket: `restored jobs` can't reach this daemon", "error", err)
		return func() {}
	}
	server := &http.Server{
		Handler: c.Handler(), ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second,
		WriteTimeout: cancelWait + 10*time.Second, IdleTimeout: 10 * time.Second, MaxHeaderBytes: 64 << 10,
		ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelWarn),
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			log.WarnContext(ctx, "the socket is closed: `restored jobs` can't reach this daemon", "error", err)
		}
	}()
	return func() {
		late, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer cancel()
		if server.Shutdown(late) != nil {
			_ = server.Close() // who still waits for an answer gets none
		}
		<-ended
	}
}

func listenControl(state string) (net.Listener, error) {
	path := filepath.Join(state, socketName)
	// A killed daemon's: the lock says that nobody uses it.
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		return nil, err
	}
	if err := os.Chmod(path, socketMode); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return l, nil
}

// Client is a running daemon's Control, through its socket. Its methods are
// those of [Control].
type Client struct{ http *http.Client }

// ErrNoDaemon is a state folder at whose socket nobody answers.
var ErrNoDaemon = errors.New("no daemon answers")

// DialControl finds the daemon of a state folder, or is [ErrNoDaemon].
func DialControl(ctx context.Context, state string) (*Client, error) {
	path := filepath.Join(state, socketName)
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{Timeout: 5 * time.Second}).DialContext(ctx, "unix", path)
	}
	conn, err := dial(ctx, "", "")
	if err != nil {
		if errors.Is(err, fs.ErrPermission) {
			return nil, err
		}
		return nil, fmt.Errorf("%w: %w", ErrNoDaemon, err)
	}
	_ = conn.Close() // nothing was written
	return &Client{&http.Client{
		Transport: &http.Transport{DialContext: dial, DisableKeepAlives: true}, Timeout: cancelWait + 10*time.Second,
	}}, nil
}

// Status is as Control's.
func (c *Client) Status(ctx context.Context) (info QueueInfo, err error) {
	err = c.call(ctx, http.MethodGet, "/v1/queue", &info)
	return info, err
}

// Pause is as Control's.
func (c *Client) Pause(ctx context.Context) (info QueueInfo, err error) {
	err = c.call(ctx, http.MethodPost, "/v1/queue/pause", &info)
	return info, err
}

// Resume is as Control's.
func (c *Client) Resume(ctx context.Context) (info QueueInfo, err error) {
	err = c.call(ctx, http.MethodPost, "/v1/queue/resume", &info)
	return info, err
}

// Workers is as Control's.
func (c *Client) Workers(ctx context.Context) (list WorkerList, err error) {
	err = c.call(ctx, http.MethodGet, "/v1/workers", &list)
	return list, err
}

// List is as Control's.
func (c *Client) List(ctx context.Context, state State, after int64, limit int) (page Page, err error) {
	args := url.Values{"after": {strconv.FormatInt(after, 10)}}
	if state != "" {
		args.Set("state", string(state))
	}
	if limit != 0 {
		args.Set("limit", strconv.Itoa(limit))
	}
	err = c.call(ctx, http.MethodGet, "/v1/jobs?"+args.Encode(), &page)
	return page, err
}

// Find is as Control's.
func (c *Client) Find(ctx context.Context, path string) (int64, error) {
	var found foundID
	err := c.call(ctx, http.MethodGet, "/v1/jobs/find?"+url.Values{"path": {path}}.Encode(), &found)
	return found.ID, err
}

// Show is as Control's.
func (c *Client) Show(ctx context.Context, id int64) (info JobInfo, err error) {
	err = c.call(ctx, http.MethodGet, jobPath(id, ""), &info)
	return info, err
}

// Retry is as Control's.
func (c *Client) Retry(ctx context.Context, id int64) (info JobInfo, err error) {
	err = c.call(ctx, http.MethodPost, jobPath(id, "/retry"), &info)
	return info, err
}

// Cancel is as Control's.
func (c *Client) Cancel(ctx context.Context, id int64) (info JobInfo, err error) {
	err = c.call(ctx, http.MethodPost, jobPath(id, "/cancel"), &info)
	return info, err
}

// Close ends the connections.
func (c *Client) Close() error {
	c.http.CloseIdleConnections()
	return nil
}

func jobPath(id int64, what string) string { return "/v1/jobs/" + strconv.FormatInt(id, 10) + what }

// call makes a request and decodes the answer. An error of the daemon's keeps
// its text and class.
func (c *Client) call(ctx context.Context, method, path string, into any) error {
	req, err := http.NewRequestWithContext(ctx, method, "http://restored"+path, nil)
	if err != nil {
		return err
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return fmt.Errorf("the daemon: %w", err)
	}
	defer func() { _ = resp.Body.Close() }() // it was only read
	if resp.StatusCode != http.StatusOK {
		return refusal(resp)
	}
	if err := json.NewDecoder(io.LimitReader(resp.Body, maxAnswer)).Decode(into); err != nil {
		return fmt.Errorf("the daemon's answer: %w", err)
	}
	return nil
}

// refusal is the error of an answer that is no success.
func refusal(resp *http.Response) error {
	var told apiError
	if err := json.NewDecoder(io.LimitReader(resp.Body, maxAnswer)).Decode(&told); err != nil || told.Error == "" {
		return fmt.Errorf("the daemon answers %s", resp.Status)
	}
	class := map[int]error{
		http.StatusNotFound: ErrUnknown, http.StatusConflict: ErrConflict, http.StatusBadRequest: errBadRequest,
		http.StatusServiceUnavailable: ErrBusy,
	}[resp.StatusCode]
	return &toldError{told.Error, class}
}

// toldError is an error of the daemon at its client.
type toldError struct {
	text  string
	class error
}

func (e *toldError) Error() string { return e.text }

// Unwrap returns the class; nil = none.
func (e *toldError) Unwrap() error { return e.class }
