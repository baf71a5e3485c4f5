package daemon

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"image"
	"image/color"
	"image/jpeg"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// previewer makes previews whose width is the time, or 7, and notes what it is
// asked for.
type previewer struct {
	before func(in string) error
	mu     sync.Mutex
	asked  []string
}

func (p *previewer) make(_ context.Context, in string, side int, at float64) ([]byte, error) {
	p.mu.Lock()
	p.asked = append(p.asked, in)
	p.mu.Unlock()
	if p.before != nil {
		if err := p.before(in); err != nil {
			return nil, err
		}
	}
	width := 7
	if at >= 0 {
		width = int(at)
	}
	var b bytes.Buffer
	err := jpeg.Encode(&b, image.NewGray(image.Rect(0, 0, width, side)), nil)
	return b.Bytes(), err
}

func (p *previewer) count() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.asked)
}

// size is that of a picture that the page sends.
func (s *pageSite) size(path string) image.Point {
	s.t.Helper()
	resp, text := s.do("GET", path, nil)
	if resp.code != http.StatusOK || resp.header.Get("Content-Type") != "image/jpeg" || !strings.Contains(resp.header.Get("Content-Security-Policy"), "sandbox") {
		s.t.Errorf("%s: %d %v %.100s", path, resp.code, resp.header, text)
		return image.Point{}
	}
	c, err := jpeg.DecodeConfig(strings.NewReader(text))
	if err != nil {
		s.t.Errorf("%s: %v", path, err)
	}
	return image.Pt(c.Width, c.Height)
}

// What browsers don't show is made small by another process, once for each
// version of a file.
func TestPreviews(t *testing.T) {
	p := &previewer{}
	work := processorFunc(copyPhoto)
	s := newPageSite(t, work, func(s *site) {
		s.preview = p.make
		s.films = &shotFilms{films{segments: 1, plan: VideoPlan{Frames: 1}}}
	})
	path := s.put("a.jpg", "II*\x00 a TIFF")
	s.done("a.jpg")
	s.put("b.mp4", "film")
	s.done("b.mp4")
	ids := s.ids()
	a, b := "/v1/jobs/"+ids["a.jpg"], "/v1/jobs/"+ids["b.mp4"]
	for range 2 {
		for path, want := range map[string]image.Point{
			a + "/picture/before": image.Pt(7, 1600), a + "/picture/after": image.Pt(7, 1600), a + "/thumbnail": image.Pt(7, 192),
			b + "/thumbnail": image.Pt(7, 192), b + "/shot/0/before": image.Pt(3, 1600), b + "/shot/2/after": image.Pt(9, 1600),
		} {
			if got := s.size(path); got != want {
				t.Errorf("%s: %v, want %v", path, got, want)
			}
		}
	}
	if n := p.count(); n != 6 {
		t.Errorf("%d previews were made of 6: %q", n, p.asked)
	}
	for _, none := range []string{b + "/shot/3/before", b + "/shot/-1/before", b + "/shot/x/before", b + "/shot/0/now", a + "/shot/0/before", "/v1/jobs/99/thumbnail", "/v1/jobs/x/thumbnail"} {
		s.want(http.StatusNotFound, "GET", none, nil)
	}
	// Another version has another picture; where the original has gone it is the output's.
	if err := os.WriteFile(path, []byte("II*\x00 another TIFF"), 0o644); err != nil {
		t.Fatal(err)
	}
	wait(t, "the new version's end", func() bool { return s.output("a.jpg") == "II*\x00 another TIFF" && s.ids()["a.jpg"] != "" })
	s.size(a + "/thumbnail")
	if n := p.count(); n != 7 {
		t.Errorf("%d previews after the change, want 7", n)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	s.size(a + "/thumbnail")
	p.mu.Lock()
	defer p.mu.Unlock()
	if last := p.asked[len(p.asked)-1]; last != filepath.Join(s.out, "a.jpg") {
		t.Errorf("the thumbnail is of %s", last)
	}
}

// ids are the numbers of the files that are done, by their names.
func (s *pageSite) ids() map[string]string {
	s.t.Helper()
	var page Page
	if err := json.Unmarshal([]byte(s.want(200, "GET", "/v1/jobs?state=done", nil)), &page); err != nil {
		s.t.Fatal(err)
	}
	all := map[string]string{}
	for _, j := range page.Jobs {
		data, err := json.Marshal(j.ID)
		if err != nil {
			s.t.Fatal(err)
		}
		all[filepath.Base(j.Path)] = string(data)
	}
	return all
}

// shotFilms are films whose reports name moments.
type shotFilms struct{ films }

func (f *shotFilms) Join(ctx context.Context, job VideoJob, tell func(Progress)) (Result, error) {
	r, err := f.films.Join(ctx, job, tell)
	r.Report = json.RawMessage(`{"video":{"tracks":[{"shots":[{"at":3},{"at":5}]},{},{"shots":[{"at":9.5}]}]}}`)
	return r, err
}

// What can't be shown, isn't a picture, or is put in another's place meanwhile is refused.
func TestPreviewsRefused(t *testing.T) {
	p := &previewer{}
	s := newPageSite(t, processorFunc(copyPhoto), func(s *site) { s.preview = p.make })
	path := s.put("a.jpg", "II*\x00 a TIFF")
	s.done("a.jpg")
	p.before = func(string) error { return errors.New("damaged") }
	for range 2 {
		s.want(http.StatusUnsupportedMediaType, "GET", "/v1/jobs/1/picture/before", nil)
	}
	if n := p.count(); n != 1 {
		t.Errorf("what can't be shown is tried %d times", n)
	}
	secret := filepath.Join(filepath.Dir(s.in), "secret.tif")
	if err := os.WriteFile(secret, somePNG(t, color.White), 0o600); err != nil {
		t.Fatal(err)
	}
	p.before = func(string) error { return errors.Join(os.Remove(path), os.Symlink(secret, path)) }
	if resp, _ := s.do("GET", "/v1/jobs/1/thumbnail", nil); resp.code == http.StatusOK {
		t.Error("a link's picture was shown")
	}
}
