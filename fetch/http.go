package fetch

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// NewClient makes a client that speaks only HTTPS (but for the machine
// itself), also where it is redirected, and takes proxies from the environment.
func NewClient() *http.Client {
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.ResponseHeaderTimeout = 30 * time.Second
	return &http.Client{
		Transport: t,
		CheckRedirect: func(req *http.Request, via []*http.Request) error {
			if len(via) >= 10 {
				return errors.New("redirected ten times")
			}
			return checkURL(req.URL.String())
		},
	}
}

// checkURL refuses what isn't https, except on the machine itself.
func checkURL(raw string) error {
	u, err := url.Parse(raw)
	if err != nil {
		return fmt.Errorf("fetch: %w", err)
	}
	if u.Host != "" && u.Scheme == "https" {
		return nil
	}
	host := u.Hostname()
	ip := net.ParseIP(host)
	if u.Scheme == "http" && (host == "localhost" || ip != nil && ip.IsLoopback()) {
		return nil
	}
	return fmt.Errorf("fetch %s: %w (http is taken only from this machine itself)", raw, ErrInsecure)
}

// once asks an address for the rest of the file and writes what comes. It
// returns true when the file is whole; a *brokenError may be tried again.
func (r *Request) once(ctx context.Context, address string, p *part) (done bool, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return false, err
	}
	req.Header.Set("Accept-Encoding", "identity")
	req.Header.Set("User-Agent", "restored")
	if p.size > 0 {
		req.Header.Set("Range", fmt.Sprintf("bytes=%d-", p.size))
		if v := p.version.ETag + p.version.Modified; v != "" {
			req.Header.Set("If-Range", v)
		}
	}
	resp, err := r.Client.Do(req)
	if err != nil {
		if errors.Is(err, ErrInsecure) || ctx.Err() != nil {
			return false, err
		}
		return false, &brokenError{err}
	}
	defer func() { _ = resp.Body.Close() }() // it was only read
	v, done, err := r.begin(resp, p)
	if done || err != nil {
		return done, err
	}
	if err := r.fits(v, p); err != nil {
		return false, err
	}
	if err := p.begin(v); err != nil {
		return false, err
	}
	r.Progress(p.size, v.Total)
	// A server that sends nothing more is a broken connection.
	silent := time.AfterFunc(r.Idle, cancel)
	defer silent.Stop()
	_, err = io.Copy(p, &meter{r, resp.Body, p, v.Total, func() { silent.Reset(r.Idle) }})
	switch {
	case err != nil:
		return false, err
	case v.Total > 0 && p.size < v.Total:
		return false, &brokenError{fmt.Errorf("the connection ended after %d of %d bytes", p.size, v.Total)}
	}
	return true, nil
}

// begin makes the part ready for the body of an answer: as it is where the
// answer goes on from it, empty where the answer is the whole file.
func (r *Request) begin(resp *http.Response, p *part) (v version, done bool, err error) {
	v = version{ETag: resp.Header.Get("ETag")}
	if strings.HasPrefix(v.ETag, "W/") {
		v.ETag = ""
	}
	if v.ETag == "" {
		v.Modified = resp.Header.Get("Last-Modified")
	}
	switch resp.StatusCode {
	case http.StatusOK:
		v.Total = max(resp.ContentLength, 0)
		return v, false, p.reset()
	case http.StatusPartialContent:
		from, total, err := parseContentRange(resp.Header.Get("Content-Range"))
		v.Total = total
		if err == nil && (from != p.size || !v.same(p.version)) {
			err = errors.New("the server has another version now")
		}
		if err != nil {
			return v, false, &brokenError{errors.Join(err, p.reset())}
		}
		return v, false, nil
	case http.StatusRequestedRangeNotSatisfiable:
		if p.size > 0 && p.size == p.version.Total {
			return v, true, nil // all was there already
		}
		return v, false, &brokenError{errors.Join(errors.New("the server has another version now"), p.reset())}
	}
	err = fmt.Errorf("the server says %s", resp.Status)
	if resp.StatusCode >= 500 || resp.StatusCode == http.StatusTooManyRequests || resp.StatusCode == http.StatusRequestTimeout {
		err = &brokenError{err}
	}
	return v, false, err
}

// fits checks the size that a server announces before anything is written.
func (r *Request) fits(v version, p *part) error {
	switch {
	case v.Total > r.Max:
		return fmt.Errorf("%w: %d bytes, at most %d", ErrTooLarge, v.Total, r.Max)
	case v.Total > 0 && r.Bytes > 0 && v.Total != r.Bytes:
		return fmt.Errorf("%w: the server's has %d bytes, and %d are expected", ErrChecksum, v.Total, r.Bytes)
	}
	return r.space(filepath.Dir(r.Path), max(v.Total, r.Bytes)-p.size)
}

// A meter reads a body, counts, and says which errors are of the connection.
type meter struct {
	r     *Request
	body  io.Reader
	p     *part
	total int64
	alive func()
}

func (m *meter) Read(b []byte) (int, error) {
	n, err := m.body.Read(b)
	if n > 0 {
		m.alive()
	}
	if m.p.size+int64(n) > m.r.Max || m.total > 0 && m.p.size+int64(n) > m.total {
		return 0, fmt.Errorf("%w: more than %d bytes came", ErrTooLarge, m.p.size)
	}
	m.r.Progress(m.p.size+int64(n), m.total)
	if err != nil && !errors.Is(err, io.EOF) {
		err = &brokenError{err}
	}
	return n, err
}

// parseContentRange reads "bytes 200-1023/1024": where it begins and the size
// of the whole, 0 if the server doesn't say.
func parseContentRange(s string) (from, total int64, err error) {
	bad := fmt.Errorf("the server's Content-Range %q can't be read", s)
	rest, ok := strings.CutPrefix(s, "bytes ")
	span, size, ok2 := strings.Cut(rest, "/")
	first, last, ok3 := strings.Cut(span, "-")
	if !ok || !ok2 || !ok3 {
		return 0, 0, bad
	}
	from, err = strconv.ParseInt(first, 10, 64)
	to, err2 := strconv.ParseInt(last, 10, 64)
	if size != "*" {
		var err3 error
		if total, err3 = strconv.ParseInt(size, 10, 64); err3 != nil || total <= to {
			return 0, 0, bad
		}
	}
	if err != nil || err2 != nil || from < 0 || to < from {
		return 0, 0, bad
	}
	return from, total, nil
}
