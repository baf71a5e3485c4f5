package fetch

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// content is a file of so many bytes, and its checksum.
func content(n int, seed byte) ([]byte, string) {
	data := make([]byte, n)
	for i := range data {
		data[i] = byte(i>>8) ^ byte(i) ^ seed
	}
	sum := sha256.Sum256(data)
	return data, hex.EncodeToString(sum[:])
}

// A host serves one file with ranges. Each answer ends after cut bytes, if cut isn't
// 0, by a broken connection.
type host struct {
	data   []byte
	etag   string
	cut    int
	mute   bool // ignores ranges
	asked  atomic.Int32
	ranges atomic.Int32
}

func (h *host) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h.asked.Add(1)
	if h.etag != "" {
		w.Header().Set("ETag", h.etag)
	}
	if h.mute {
		r.Header.Del("Range")
	}
	if r.Header.Get("Range") != "" {
		h.ranges.Add(1)
	}
	if h.cut > 0 {
		w = &cutter{w, h.cut}
	}
	http.ServeContent(w, r, "", time.Unix(1e9, 0), bytes.NewReader(h.data))
}

type cutter struct {
	http.ResponseWriter
	left int
}

func (c *cutter) Write(b []byte) (int, error) {
	if len(b) > c.left {
		_, _ = c.ResponseWriter.Write(b[:c.left])
		c.ResponseWriter.(http.Flusher).Flush()
		panic(http.ErrAbortHandler)
	}
	c.left -= len(b)
	return c.ResponseWriter.Write(b)
}

func serve(t *testing.T, h http.Handler) string {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return s.URL + "/model.onnx"
}

func quick(urls ...string) Request {
	return Request{URLs: urls, Pause: func(int) time.Duration { return time.Microsecond }}
}

// left are the names in a folder.
func left(t *testing.T, dir string) string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return strings.Join(names, " ")
}

func TestFile(t *testing.T) {
	data, sum := content(300_000, 1)
	for _, test := range []struct {
		name string
		host *host
	}{
		{"whole", &host{etag: `"v1"`}},
		{"often cut", &host{etag: `"v1"`, cut: 70_000}},
		{"cut, no etag", &host{cut: 70_000}},
		{"cut, weak etag", &host{etag: `W/"v1"`, cut: 70_000}},
		{"without ranges", &host{etag: `"v1"`, mute: true}},
	} {
		t.Run(test.name, func(t *testing.T) {
			test.host.data = data
			r := quick(serve(t, test.host))
			dir := t.TempDir()
			r.Path, r.SHA256, r.Bytes = filepath.Join(dir, "m.onnx"), strings.ToUpper(sum), int64(len(data))
			var last, total int64
			r.Progress = func(done, of int64) { last, total = done, of }
			got, err := File(t.Context(), r)
			if err != nil || got.SHA256 != sum || got.Bytes != int64(len(data)) {
				t.Fatalf("%+v, %v", got, err)
			}
			if written, err := os.ReadFile(r.Path); err != nil || !bytes.Equal(written, data) {
				t.Errorf("another file was written: %d bytes, %v", len(written), err)
			}
			if last != total || total != int64(len(data)) {
				t.Errorf("progress ended at %d of %d", last, total)
			}
			if names := left(t, dir); names != "m.onnx" {
				t.Errorf("left behind %q", names)
			}
			if test.host.cut > 0 && test.host.ranges.Load() != 4 {
				t.Errorf("%d ranges were asked for, want 4", test.host.ranges.Load())
			}
		})
	}
}

// A second call goes on where the first was stopped.
func TestResume(t *testing.T) {
	data, sum := content(200_000, 2)
	h := &host{data: data, etag: `"v1"`, cut: 80_000}
	r := quick(serve(t, h))
	r.Path, r.SHA256, r.Tries = filepath.Join(t.TempDir(), "m.onnx"), sum, 1
	ctx, cancel := context.WithCancel(t.Context())
	r.Note = func(string) { cancel() }
	r.Tries = 2
	if _, err := File(ctx, r); !errors.Is(err, context.Canceled) {
		t.Fatalf("error %v", err)
	}
	kept, err := os.Stat(PartPath(r.Path))
	if err != nil || kept.Size() != 80_000 {
		t.Fatalf("kept %v, %v", kept, err)
	}
	h.cut = 0
	r.Note = nil
	got, err := File(t.Context(), r)
	if err != nil || got.Resumed != 80_000 || got.SHA256 != sum {
		t.Errorf("%+v, %v", got, err)
	}
	if h.ranges.Load() != 1 {
		t.Errorf("%d ranges, want 1", h.ranges.Load())
	}
}

// A server that has another version by now gives it whole.
func TestResumeOfAnotherVersion(t *testing.T) {
	old, _ := content(200_000, 3)
	fresh, sum := content(200_000, 4)
	for _, etag := range []string{`"v2"`, ""} {
		h := &host{data: old, etag: `"v1"`, cut: 80_000}
		if etag == "" {
			h.etag = "" // the server says the same date of both: only the checksum tells
		}
		r := quick(serve(t, h))
		r.Path, r.SHA256, r.Tries = filepath.Join(t.TempDir(), "m.onnx"), sum, 1
		if _, err := File(t.Context(), r); err == nil || !strings.Contains(err.Error(), "80000 bytes are kept") {
			t.Fatalf("error %v", err)
		}
		h.data, h.etag, h.cut = fresh, etag, 0
		got, err := File(t.Context(), r)
		if err != nil || got.SHA256 != sum || got.Resumed != 0 {
			t.Errorf("etag %q: %+v, %v", etag, got, err)
		}
	}
}

func TestRefused(t *testing.T) {
	data, sum := content(50_000, 5)
	_, other := content(50_000, 6)
	missing := serve(t, http.NotFoundHandler())
	good := serve(t, &host{data: data, etag: `"v1"`})
	away := serve(t, http.RedirectHandler("http://example.com/m.onnx", http.StatusFound))
	broken := serve(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusBadGateway) }))
	for _, test := range []struct {
		name string
		r    Request
		is   error
		says string
	}{
		{"wrong checksum", Request{URLs: []string{good}, SHA256: other}, ErrChecksum, sum},
		{"wrong size", Request{URLs: []string{good}, Bytes: 49_999}, ErrChecksum, "has 50000 bytes"},
		{"too large", Request{URLs: []string{good}, Max: 10_000}, ErrTooLarge, "at most 10000"},
		{"no space", Request{URLs: []string{good}, Free: func(string) (int64, error) { return margin + 49_999, nil }}, ErrNoSpace, "free some"},
		{"missing", Request{URLs: []string{missing}}, nil, "404 Not Found"},
		{"server fault", Request{URLs: []string{broken}}, nil, "502 Bad Gateway"},
		{"http", Request{URLs: []string{"http://example.com/m.onnx"}}, ErrInsecure, "http is taken only from this machine"},
		{"file", Request{URLs: []string{"file:///etc/passwd"}}, ErrInsecure, ""},
		{"redirected to http", Request{URLs: []string{away}}, ErrInsecure, "example.com"},
	} {
		t.Run(test.name, func(t *testing.T) {
			dir := t.TempDir()
			test.r.Path, test.r.Pause, test.r.Tries = filepath.Join(dir, "m.onnx"), quick().Pause, 2
			_, err := File(t.Context(), test.r)
			if err == nil || test.is != nil && !errors.Is(err, test.is) || !strings.Contains(err.Error(), test.says) {
				t.Fatalf("error %v", err)
			}
			if names := left(t, dir); names != "" {
				t.Errorf("left behind %q", names)
			}
		})
	}
}

// The next address is asked when one fails, but a full disk stays full.
func TestMirrors(t *testing.T) {
	data, sum := content(50_000, 7)
	wrong, _ := content(50_000, 8)
	h := &host{data: data}
	r := quick(serve(t, http.NotFoundHandler()), serve(t, &host{data: wrong}), serve(t, h))
	r.Path, r.SHA256 = filepath.Join(t.TempDir(), "m.onnx"), sum
	got, err := File(t.Context(), r)
	if err != nil || got.URL != r.URLs[2] {
		t.Errorf("%+v, %v", got, err)
	}
	r.Path = filepath.Join(t.TempDir(), "n.onnx")
	r.URLs = r.URLs[1:]
	r.Free = func(string) (int64, error) { return 0, nil }
	if _, err := File(t.Context(), r); !errors.Is(err, ErrNoSpace) || h.asked.Load() != 1 {
		t.Errorf("error %v, asked %d times", err, h.asked.Load())
	}
}

// A server that falls silent is a broken connection.
func TestSilentServer(t *testing.T) {
	stop := make(chan struct{})
	t.Cleanup(func() { close(stop) })
	url := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", "1000")
		_, _ = w.Write([]byte("x"))
		w.(http.Flusher).Flush()
		select {
		case <-stop:
		case <-r.Context().Done():
		}
	}))
	r := quick(url)
	r.Path, r.Idle, r.Tries = filepath.Join(t.TempDir(), "m.onnx"), 20*time.Millisecond, 1
	if _, err := File(t.Context(), r); !isBroken(err) {
		t.Errorf("error %v", err)
	}
}

func TestBusy(t *testing.T) {
	path := filepath.Join(t.TempDir(), "m.onnx")
	p, err := openPart(path)
	if err != nil {
		t.Fatal(err)
	}
	defer p.close()
	r := quick("http://localhost:1/m.onnx")
	r.Path = path
	if _, err := File(t.Context(), r); !errors.Is(err, ErrBusy) {
		t.Errorf("error %v", err)
	}
}

func TestNoFolder(t *testing.T) {
	r := quick("http://localhost:1/m.onnx")
	r.Path = filepath.Join(t.TempDir(), "none", "m.onnx")
	if _, err := File(t.Context(), r); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("error %v", err)
	}
}

func TestProxyOfTheEnvironment(t *testing.T) {
	tr, ok := NewClient().Transport.(*http.Transport)
	if !ok || tr.Proxy == nil {
		t.Error("the environment's proxies aren't used")
	}
}

func FuzzContentRange(f *testing.F) {
	for _, s := range []string{"bytes 0-9/10", "bytes 5-9/*", "bytes */10", "bytes 9-5/10", "", "bytes 0-9/9"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		from, total, err := parseContentRange(s)
		if err == nil && (from < 0 || total < 0 || total > 0 && from >= total) {
			t.Errorf("%q: from %d of %d", s, from, total)
		}
	})
}

func ExamplePartPath() {
	fmt.Println(PartPath("/models/a.onnx"))
	// Output: /models/.restored-a.onnx.part.tmp
}
