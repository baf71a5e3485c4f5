package daemon

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"restored/config"
)

const testToken = "0123456789abcdef0123456789abcdef"

// pageSite is a daemon with its page on a free port.
type pageSite struct {
	*site
	base string // http://127.0.0.1:PORT
}

func newPageSite(t *testing.T, p Processor, change func(*site)) *pageSite {
	t.Helper()
	s := newSite(t)
	s.cfg.HTTP = config.HTTP{Listen: "127.0.0.1:0", Upload: 1 << 20}
	if change != nil {
		change(s)
	}
	s.start(p)
	found := regexp.MustCompile(`address=(http://\S+)`).FindStringSubmatch(s.logged())
	if found == nil {
		t.Fatalf("no page:\n%s", s.logged())
	}
	return &pageSite{s, found[1]}
}

// answer is what came before the body.
type answer struct {
	code    int
	header  http.Header
	cookies []*http.Cookie
}

// do makes a request with headers as "Name: value", and "Host: …".
func (s *pageSite) do(method, path string, body io.Reader, headers ...string) (answer, string) {
	s.t.Helper()
	r, err := http.NewRequestWithContext(s.t.Context(), method, s.base+path, body)
	if err != nil {
		s.t.Fatal(err)
	}
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		r.Header.Set(name, value)
		if name == "Host" {
			r.Host = value
		}
	}
	// A body that the daemon doesn't want isn't sent: it would close the
	// connection in the middle, and a slow client would see that instead of the answer.
	if body != nil {
		r.Header.Set("Expect", "100-continue")
	}
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true, ExpectContinueTimeout: time.Minute}, Timeout: time.Minute,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	resp, err := client.Do(r)
	if err != nil {
		s.t.Fatalf("%s %s: %v", method, path, err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		s.t.Fatalf("%s %s: %v", method, path, err)
	}
	return answer{resp.StatusCode, resp.Header, resp.Cookies()}, string(text)
}

// want makes a request and checks the status of the answer.
func (s *pageSite) want(code int, method, path string, body io.Reader, headers ...string) string {
	s.t.Helper()
	got, text := s.do(method, path, body, headers...)
	if got.code != code {
		s.t.Errorf("%s %s %q: %d %s, want %d", method, path, headers, got.code, text, code)
	}
	return text
}

// folder is the opaque name of the watched folder.
func (s *pageSite) folder() string {
	s.t.Helper()
	var about struct {
		Folders []struct{ ID, In, Problem string }
	}
	if err := json.Unmarshal([]byte(s.want(200, "GET", "/v1/about", nil)), &about); err != nil || len(about.Folders) != 1 {
		s.t.Fatalf("about: %+v, %v", about, err)
	}
	if f := about.Folders[0]; f.In != s.in || f.Problem != "" {
		s.t.Errorf("the folder is %+v", f)
	}
	return about.Folders[0].ID
}

func (s *pageSite) uploadPath(name string) string {
	return "/v1/folders/" + s.folder() + "/files?name=" + url.QueryEscape(name)
}

// holds checks that the watched folder holds these files only.
func (s *pageSite) holds(names ...string) {
	s.t.Helper()
	entries, err := os.ReadDir(s.in)
	if err != nil {
		s.t.Fatal(err)
	}
	var got []string
	for _, e := range entries {
		got = append(got, e.Name())
	}
	if strings.Join(got, " ") != strings.Join(names, " ") {
		s.t.Errorf("%s holds %q, want %q", s.in, got, names)
	}
}

var unsafePaths = [][2]string{
	{"POST", "/v1/queue/pause"}, {"POST", "/v1/queue/resume"}, {"POST", "/v1/jobs/1/retry"}, {"POST", "/v1/jobs/1/cancel"},
	{"POST", "/v1/session"}, {"DELETE", "/v1/session"}, {"POST", "/v1/folders/1/files?name=a.jpg"},
}

func TestCrossSiteRefused(t *testing.T) {
	s := newPageSite(t, &proc{}, nil)
	for _, p := range unsafePaths {
		for _, h := range []string{"Sec-Fetch-Site: cross-site", "Sec-Fetch-Site: same-site", "Origin: http://evil.example", "Origin: null", "Origin: http://127.0.0.1:1"} {
			s.want(http.StatusForbidden, p[0], p[1], strings.NewReader("x"), h)
		}
	}
	if strings.Contains(s.want(200, "GET", "/v1/queue", nil), `"paused":true`) {
		t.Error("a page elsewhere has paused the queue")
	}
	for _, h := range []string{"Sec-Fetch-Site: same-origin", "Origin: " + s.base, "Accept: */*"} {
		s.want(200, "POST", "/v1/queue/resume", nil, h)
	}
	// Nor may a page elsewhere look at answers, or put the page in a frame.
	resp, _ := s.do("GET", "/", nil)
	for name, want := range map[string]string{
		"Content-Security-Policy": "frame-ancestors 'none'", "Cross-Origin-Resource-Policy": "same-origin", "X-Content-Type-Options": "nosniff",
	} {
		if got := resp.header.Get(name); !strings.Contains(got, want) {
			t.Errorf("%s is %q", name, got)
		}
	}
	if got := resp.header.Get("Content-Security-Policy"); strings.Contains(got, "unsafe") || !strings.Contains(got, "default-src 'none'") {
		t.Errorf("the policy is %q", got)
	}
	if resp.header.Get("Access-Control-Allow-Origin") != "" {
		t.Error("other origins are let in")
	}
}

func TestBadHostRefused(t *testing.T) {
	s := newPageSite(t, &proc{}, func(s *site) { s.cfg.HTTP.Hosts = "photos.example, Album" })
	for _, host := range []string{"evil.example", "localhost.evil.example", "192.0.2.1", "127.0.0.1.evil.example:80", "photos.example.evil", "[2001:db8::1]:80"} {
		for _, path := range []string{"/", "/v1/queue", "/v1/about"} {
			s.want(http.StatusMisdirectedRequest, "GET", path, nil, "Host: "+host)
		}
		s.want(http.StatusMisdirectedRequest, "POST", "/v1/queue/pause", nil, "Host: "+host)
	}
	for _, host := range []string{"localhost", "localhost:8760", "127.0.0.1", "127.0.0.2:80", "[::1]:8760", "photos.example", "PHOTOS.example.:443", "album"} {
		s.want(200, "GET", "/v1/queue", nil, "Host: "+host)
	}
}

// Each parameter of each path gets what would lead out of the folders. What it
// leads to is a picture that would be shown.
func TestTraversalRefused(t *testing.T) {
	s := newPageSite(t, &proc{}, nil)
	secret := filepath.Join(filepath.Dir(s.in), "secret.png")
	if err := os.WriteFile(secret, somePNG(t, color.White), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, part := range []string{"..", "../secret.png", "..%2fsecret.png", "%2e%2e%2fsecret.png", "..%5csecret.png", "1%2f..%2f..", "1%00", "-1", "0", "99", "9999999999999999999", secret, url.PathEscape(secret)} {
		for _, p := range [][2]string{
			{"GET", "/v1/jobs/" + part}, {"POST", "/v1/jobs/" + part + "/retry"}, {"POST", "/v1/jobs/" + part + "/cancel"},
			{"GET", "/v1/jobs/" + part + "/picture/before"}, {"GET", "/v1/jobs/1/picture/" + part}, {"GET", "/v1/jobs/find?path=" + part},
			{"POST", "/v1/folders/" + part + "/files?name=a.jpg"}, {"GET", "/" + part},
			{"POST", "/v1/folders/" + s.folder() + "/files?name=" + part},
		} {
			resp, text := s.do(p[0], p[1], strings.NewReader("x"))
			if resp.code < 300 || resp.code >= 500 || strings.Contains(text, "PNG") {
				t.Errorf("%s %s: %d %q", p[0], p[1], resp.code, text)
			}
		}
	}
	for _, name := range []string{"../a.jpg", "/etc/a.jpg", `..\a.jpg`, ".a.jpg", "a\x00.jpg", "a\n.jpg", "\xff.jpg", "x/../a.jpg", strings.Repeat("a", 300) + ".jpg", ""} {
		s.want(http.StatusBadRequest, "POST", s.uploadPath(name), strings.NewReader("x"))
	}
	for _, name := range []string{"a.svg", "a.html", "a.jpg.part", "a.jpg~", "a"} {
		s.want(http.StatusUnsupportedMediaType, "POST", s.uploadPath(name), strings.NewReader("x"))
	}
	s.holds()
}

// A link in a watched or output folder leads nowhere, whoever made it.
func TestTraversalByLinkRefused(t *testing.T) {
	s := newPageSite(t, &proc{}, nil)
	secret := filepath.Join(filepath.Dir(s.in), "secret")
	if err := errors.Join(os.Mkdir(secret, 0o700), os.WriteFile(filepath.Join(secret, "a.jpg"), somePNG(t, color.White), 0o600)); err != nil {
		t.Fatal(err)
	}
	s.put("sub/a.jpg", string(somePNG(t, color.Black)))
	s.done("a.jpg")
	s.want(200, "GET", "/v1/jobs/1/picture/before", nil)
	if err := errors.Join(os.RemoveAll(filepath.Join(s.in, "sub")), os.Symlink(secret, filepath.Join(s.in, "sub"))); err != nil {
		t.Fatal(err)
	}
	if resp, _ := s.do("GET", "/v1/jobs/1/picture/before", nil); resp.code == 200 {
		t.Error("a folder's link was followed")
	}
	if err := errors.Join(os.Remove(filepath.Join(s.in, "sub")), os.Mkdir(filepath.Join(s.in, "sub"), 0o755),
		os.Symlink(filepath.Join(secret, "a.jpg"), filepath.Join(s.in, "sub/a.jpg"))); err != nil {
		t.Fatal(err)
	}
	if resp, _ := s.do("GET", "/v1/jobs/1/picture/before", nil); resp.code == 200 {
		t.Error("a file's link was followed")
	}
}

// Only bitmaps are sent, whatever a file is called.
func TestPictures(t *testing.T) {
	s := newPageSite(t, processorFunc(copyPhoto), nil)
	s.put("a.jpg", string(somePNG(t, color.Black)))
	s.done("a.jpg")
	for _, side := range []string{"before", "after"} {
		resp, text := s.do("GET", "/v1/jobs/1/picture/"+side, nil)
		h := resp.header
		if resp.code != http.StatusOK || text != string(somePNG(t, color.Black)) || h.Get("Content-Type") != "image/png" ||
			!strings.Contains(h.Get("Content-Security-Policy"), "sandbox") || h.Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("%s: %d %v", side, resp.code, h)
		}
	}
	for name, content := range map[string]string{
		"b.jpg": "<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>",
		"c.jpg": "<!doctype html><script>alert(1)</script>",
		"d.jpg": "%PDF-1.7", "e.jpg": "plain",
	} {
		id := s.put(name, content)
		s.done(name)
		var found struct{ ID json.Number }
		if err := json.Unmarshal([]byte(s.want(200, "GET", "/v1/jobs/find?path="+url.QueryEscape(id), nil)), &found); err != nil {
			t.Fatal(err)
		}
		s.want(http.StatusUnsupportedMediaType, "GET", "/v1/jobs/"+found.ID.String()+"/picture/before", nil)
		s.want(http.StatusUnsupportedMediaType, "GET", "/v1/jobs/"+found.ID.String()+"/picture/after", nil)
	}
	if err := os.Truncate(filepath.Join(s.in, "a.jpg"), 65<<20); err != nil {
		t.Fatal(err)
	}
	s.want(http.StatusUnsupportedMediaType, "GET", "/v1/jobs/1/picture/before", nil) // too large, and nobody makes it small
}

func TestUploadTooLarge(t *testing.T) {
	s := newPageSite(t, &proc{}, nil)
	s.want(http.StatusRequestEntityTooLarge, "POST", s.uploadPath("a.jpg"), bytes.NewReader(make([]byte, 1<<20+1)))
	s.holds()
	s.want(http.StatusCreated, "POST", s.uploadPath("a.jpg"), bytes.NewReader(make([]byte, 1<<20)))
	s.holds("a.jpg")
	// Where there is room for less than the reserve, nothing is taken.
	full := newPageSite(t, &proc{}, func(s *site) {
		s.free = func(string) (space, error) { return space{device: 1, free: 100}, nil }
	})
	if text := full.want(http.StatusInsufficientStorage, "POST", full.uploadPath("a.jpg"), bytes.NewReader(make([]byte, 101))); !strings.Contains(text, "disk.reserve") {
		t.Errorf("the answer is %s", text)
	}
	full.holds()
	// What isn't an upload carries next to nothing.
	resp, _ := s.do("POST", "/v1/session", strings.NewReader("token="+strings.Repeat("x", 16<<10)))
	if resp.code != http.StatusUnauthorized {
		t.Errorf("a large form: %d", resp.code)
	}
}

// Bodies that don't say how long they are, are compressed, or are longer or
// shorter than they said.
func TestUploadBomb(t *testing.T) {
	s := newPageSite(t, &proc{}, nil)
	endless := io.LimitReader(endlessReader{}, 1<<30) // no length: it is sent in chunks
	s.want(http.StatusLengthRequired, "POST", s.uploadPath("a.jpg"), io.NopCloser(io.LimitReader(endless, 1<<16)))
	s.want(http.StatusUnsupportedMediaType, "POST", s.uploadPath("a.jpg"), strings.NewReader("x"), "Content-Encoding: gzip")
	s.want(http.StatusBadRequest, "POST", s.uploadPath("a.jpg"), nil, "Content-Length: 0")
	s.holds()

	raw := func(length, body string) string {
		conn, err := net.Dial("tcp", strings.TrimPrefix(s.base, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		_, err = io.WriteString(conn, "POST "+s.uploadPath("b.jpg")+" HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: "+length+"\r\n\r\n"+body)
		if err == nil {
			err = conn.(*net.TCPConn).CloseWrite()
		}
		if err != nil {
			t.Fatal(err)
		}
		answer, _ := io.ReadAll(conn)
		return string(answer)
	}
	for _, length := range []string{"99999999999999", "-1", "1e9", "18446744073709551616"} {
		if got := raw(length, "x"); !strings.HasPrefix(got, "HTTP/1.1 4") {
			t.Errorf("length %s: %q", length, got)
		}
	}
	raw("1000", "too little")
	wait(t, "the short upload's end", func() bool { return strings.Contains(s.logged(), "upload failed") })
	s.holds()
	if got := raw("5", "12345 and much more"); !strings.HasPrefix(got, "HTTP/1.1 201") {
		t.Errorf("more than was said: %q", got)
	}
	if got, err := os.ReadFile(filepath.Join(s.in, "b.jpg")); string(got) != "12345" || err != nil {
		t.Errorf("the file is %q, %v", got, err)
	}
}

type endlessReader struct{}

func (endlessReader) Read(b []byte) (int, error) { return len(b), nil }

// An upload arrives whole, overwrites nothing, and is restored.
func TestUpload(t *testing.T) {
	s := newPageSite(t, &proc{}, func(s *site) { s.cfg.Watch[0].Exclude = []string{"private*"} })
	s.want(http.StatusCreated, "POST", s.uploadPath("ein Bild ü.jpg"), strings.NewReader("new"))
	s.done("ein Bild ü.jpg")
	if got := s.output("ein Bild ü.jpg"); got != "restored new" {
		t.Errorf("the output is %q", got)
	}
	s.want(http.StatusConflict, "POST", s.uploadPath("ein Bild ü.jpg"), strings.NewReader("other"))
	s.want(http.StatusUnsupportedMediaType, "POST", s.uploadPath("private.jpg"), strings.NewReader("x"))
	s.holds("ein Bild ü.jpg")
	if got, err := os.ReadFile(filepath.Join(s.in, "ein Bild ü.jpg")); string(got) != "new" || err != nil {
		t.Errorf("the file is %q, %v", got, err)
	}
}

// What an interrupted daemon left of uploads goes, what another's left stays.
func TestUploadLeftovers(t *testing.T) {
	s := newSite(t)
	s.put(uploadPrefix+"1"+tempSuffix, "half")
	s.put(tempPrefix+"1"+tempSuffix, "another daemon's")
	s.cfg.HTTP = config.HTTP{Listen: "127.0.0.1:0", Upload: 1 << 20}
	s.start(&proc{})
	(&pageSite{site: s}).holds(tempPrefix + "1" + tempSuffix)
}

func TestMissingToken(t *testing.T) {
	s := newPageSite(t, &proc{}, func(s *site) { s.cfg.HTTP.Token = testToken })
	paths := append([][2]string{{"GET", "/v1/queue"}, {"GET", "/v1/jobs"}, {"GET", "/v1/jobs/1"}, {"GET", "/v1/about"},
		{"GET", "/v1/jobs/find?path=/"}, {"GET", "/v1/jobs/1/picture/before"}, {"GET", "/v1/jobs/1/thumbnail"}, {"GET", "/v1/jobs/1/shot/0/before"}, {"GET", "/metrics"},
		{"GET", "/queue/"}, {"GET", "/queue/api/jobs"}, {"POST", "/queue/api/jobs/retry"}, {"GET", "/v1/events"}, {"GET", "/v1/none"}}, unsafePaths...)
	for _, p := range paths {
		if p[0] == "DELETE" {
			continue // gives up what one hasn't
		}
		for _, h := range []string{"Accept: */*", "Authorization: Basic " + testToken, "Cookie: restored=" + testToken, "Cookie: restored="} {
			if p[1] == "/v1/session" && h != "Accept: */*" {
				continue // each is a try, and there aren't many
			}
			s.want(http.StatusUnauthorized, p[0], p[1], nil, h)
		}
	}
	for _, h := range []string{"Authorization: Bearer", "Authorization: Bearer " + testToken[1:], "Authorization: Bearer " + testToken + "x"} {
		s.want(http.StatusUnauthorized, "GET", "/v1/queue", nil, h)
	}
	s.want(200, "GET", "/v1/queue", nil, "Authorization: Bearer "+testToken)
	s.want(200, "GET", "/", nil)

	form := "Content-Type: application/x-www-form-urlencoded"
	s.want(http.StatusUnauthorized, "POST", "/v1/session", strings.NewReader("token=wrong"), form)
	resp, _ := s.do("POST", "/v1/session", strings.NewReader("token="+testToken), form, "Origin: "+s.base)
	if resp.code != http.StatusNoContent || len(resp.cookies) != 1 {
		t.Fatalf("login: %d, %v", resp.code, resp.cookies)
	}
	cookie := resp.cookies[0]
	if !cookie.HttpOnly || cookie.SameSite != http.SameSiteStrictMode || strings.Contains(cookie.Value, testToken) {
		t.Errorf("the cookie is %v", cookie)
	}
	s.want(200, "GET", "/v1/queue", nil, "Cookie: restored="+cookie.Value)
	if strings.Contains(s.logged(), testToken) {
		t.Error("the token is in the log")
	}
}

// An address that is taken is an error at the start.
func TestPageAddressTaken(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	s := newSite(t)
	s.cfg.HTTP.Listen = l.Addr().String()
	if err := s.daemon(&proc{}).Run(t.Context()); err == nil || !strings.Contains(err.Error(), "http.listen") {
		t.Errorf("Run: %v", err)
	}
}

// done waits until a file is done.
func (s *pageSite) done(name string) {
	s.t.Helper()
	wait(s.t, name, func() bool { return s.finished(name) })
}

func (s *pageSite) finished(name string) bool {
	_, text := s.do("GET", "/v1/jobs?state=done", nil)
	var page Page
	if json.Unmarshal([]byte(text), &page) != nil {
		return false
	}
	for _, j := range page.Jobs {
		if filepath.Base(j.Path) == name {
			return true
		}
	}
	return false
}

// copyPhoto is a processor that writes the photo as it is.
func copyPhoto(_ context.Context, job Job) (Result, error) {
	data, err := os.ReadFile(job.In)
	if err == nil {
		err = writeAtomic(job.Out, string(data), job.Overwrite)
	}
	return Result{Out: job.Out}, err
}

func somePNG(t testing.TB, c color.Color) []byte {
	t.Helper()
	img := image.NewGray(image.Rect(0, 0, 8, 8))
	for i := range 64 {
		img.Set(i%8, i/8, c)
	}
	var b bytes.Buffer
	if err := png.Encode(&b, img); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// The newest files come first where they are asked for so, page by page.
func TestNewestFirst(t *testing.T) {
	s := newPageSite(t, &proc{}, nil)
	for _, name := range []string{"a.jpg", "b.jpg", "c.jpg"} {
		s.put(name, "x")
		s.done(name)
	}
	var names []string
	for after := int64(0); ; {
		var page Page
		path := fmt.Sprintf("/v1/jobs?state=done&newest=1&limit=2&after=%d", after)
		if err := json.Unmarshal([]byte(s.want(200, "GET", path, nil)), &page); err != nil {
			t.Fatal(err)
		}
		for _, j := range page.Jobs {
			names = append(names, filepath.Base(j.Path))
		}
		if after = page.Next; after == 0 {
			break
		}
	}
	if got := strings.Join(names, " "); got != "c.jpg b.jpg a.jpg" {
		t.Errorf("in the order %s", got)
	}
	s.want(http.StatusBadRequest, "GET", "/v1/jobs?newest=yes", nil)
}
