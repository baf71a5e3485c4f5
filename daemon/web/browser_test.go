package web_test

import (
	"context"
	"encoding/json"
	"fmt"
	"image/color"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"restored/daemon/web/webtest"
)

// axeFile is fetched by setup/setup.sh --browser.
const axeFile = "../../.deps/web/axe.min.js"

// browser is a Chromium with one tab on the page.
type browser struct {
	t    *testing.T
	ctx  context.Context //nolint:containedctx // chromedp's handle
	mu   sync.Mutex
	said []string // what the page has done wrong
}

func open(t *testing.T, base string) *browser {
	t.Helper()
	ctx := webtest.Tab(t)
	b := &browser{t: t, ctx: ctx}
	err := chromedp.Listen(ctx, func(event any) {
		switch e := event.(type) {
		case *runtime.EventExceptionThrown:
			b.note("exception: " + fmt.Sprintf("%+v", e.ExceptionDetails))
		case *log.EventEntryAdded:
			if e.Entry.Source == log.EntrySourceSecurity {
				b.note("refused: " + e.Entry.Text)
			}
		case *network.EventRequestWillBeSent:
			if !strings.HasPrefix(e.Request.URL, base) {
				b.note("asked elsewhere: " + e.Request.URL)
			}
		}
	})
	if err == nil {
		_, err = chromedp.Call(ctx, network.Enable, network.EnableParams{})
	}
	if err != nil {
		t.Fatal(err)
	}
	b.run(chromedp.Navigate(base))
	t.Cleanup(func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		for _, s := range b.said {
			t.Error(s)
		}
	})
	return b
}

func (b *browser) note(text string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.said = append(b.said, text)
}

func (b *browser) run(steps ...chromedp.Action[chromedp.Void]) {
	b.t.Helper()
	if err := chromedp.Do(b.ctx, steps...); err != nil {
		b.t.Fatal(err)
	}
}

// value evaluates an expression in the page; a promise is waited for.
func value[T any](b *browser, expression string) T {
	b.t.Helper()
	v, err := chromedp.Run(b.ctx, chromedp.Evaluate[T](expression, chromedp.EvalAwaitPromise))
	if err != nil {
		b.t.Fatalf("%.200s: %v", expression, err)
	}
	return v
}

// is polls until an expression holds in the page, which may be loading: then
// what it names isn't there.
func (b *browser) is(expression string) {
	b.t.Helper()
	var last error
	what := func() string {
		return fmt.Sprintf("%s: %v; the page says %s", expression, last, value[string](b, "document.body.innerText"))
	}
	until(b.t, what, func() (ok bool) {
		ok, last = chromedp.Run(b.ctx, chromedp.Evaluate[bool](expression))
		return ok && last == nil
	})
}

// says polls until an element contains a text.
func (b *browser) says(selector, text string) {
	b.t.Helper()
	b.is("(document.querySelector(" + quote(selector) + ")?.innerText ?? '').includes(" + quote(text) + ")")
}

func (b *browser) click(selector string) {
	b.t.Helper()
	b.is("document.querySelector(" + quote(selector) + ")?.disabled === false")
	b.run(chromedp.Click(chromedp.CSS(selector)))
}

// upload chooses a file of its own in the page.
func (b *browser) upload(name string, content []byte) {
	b.t.Helper()
	path := filepath.Join(b.t.TempDir(), name)
	if err := os.WriteFile(path, content, 0o600); err != nil {
		b.t.Fatal(err)
	}
	b.is("document.querySelector('#folder option') !== null")
	b.run(chromedp.SetUploadFiles(chromedp.CSS("#files"), []string{path}))
	b.says("#uploads", name+" is in the folder")
}

// accessible has axe look at the page as it is.
func (b *browser) accessible(what string) {
	b.t.Helper()
	if !value[bool](b, "typeof axe === 'object'") {
		axe, err := os.ReadFile(axeFile)
		if err != nil {
			b.t.Fatalf("%v: run setup/setup.sh --browser", err)
		}
		value[bool](b, string(axe)+"; true")
	}
	type violation struct {
		ID, Impact, Help string
		Nodes            []struct{ HTML, FailureSummary string }
	}
	found := value[[]violation](b, "axe.run(document).then(r => { window.axePasses = r.passes.length; return r.violations; })")
	for _, f := range found {
		b.t.Errorf("%s: axe finds %s (%s): %s %+v", what, f.ID, f.Impact, f.Help, f.Nodes)
	}
	if passed := value[int](b, "window.axePasses"); passed < 20 {
		b.t.Errorf("%s: only %d rules of axe apply", what, passed)
	}
}

func quote(s string) string {
	q, err := json.Marshal(s)
	if err != nil {
		panic(err) // a string is always JSON
	}
	return string(q)
}

// A day with the page: upload, live progress, before and after, a failed file
// and its retry, pause and resume.
func TestBrowser(t *testing.T) {
	w := newWorker()
	b := open(t, serve(t, w, ""))
	b.says("#summary", "0 in work, 0 queued, 0 done, 0 failed")
	b.says("#folders", "watched")
	b.accessible("the empty page")
	watchWork(b, w)
	slider(b)
	retry(b, w)
	pause(b, w)
	phone(b)
}

// watchWork uploads a photo and a film and sees their progress.
func watchWork(b *browser, w *worker) {
	b.upload("portrait.png", picture(color.Black))
	b.says("#work", "portrait.png")
	b.is("document.querySelector('#work img')?.naturalWidth === 19")
	b.accessible("with a photo in work")
	w.photo <- struct{}{}
	b.says("#list li", "done")
	b.is("document.querySelector('#list img')?.naturalWidth === 19")
	b.says("#idle", "Nothing is in work")

	b.upload("film.mp4", []byte("frames"))
	w.frames <- 25
	b.is("document.querySelector('#work progress')?.value === 25")
	b.is("document.querySelector('#work img')?.naturalWidth === 19")
	b.says("#work", "25 of 100 frames")
	w.frames <- 75
	b.is("document.querySelector('#work progress')?.value === 75")
	b.says("#work", "2 faces")
	w.frames <- frames
	b.says("#summary", "2 done")
}

// retry sees why a file has failed, and does it again.
func retry(b *browser, w *worker) {
	b.upload("broken.png", []byte("PNG"))
	b.says("#list li", "broken.png")
	b.says("#list li .bad", "not a PNG file: it ends after 3 bytes")
	b.accessible("with a failed file")
	close(w.whole)
	b.click(`button[aria-label="Retry broken.png"]`)
	b.says("#summary", "3 done, 0 failed")
}

// pause pauses the queue by keys, and resumes it.
func pause(b *browser, w *worker) {
	b.run(chromedp.Click(chromedp.CSS("h1")), chromedp.KeyEvent(kb.Tab)) // to the first that can be reached
	b.is("document.activeElement.id === 'pause'")
	b.run(chromedp.KeyEvent(kb.Enter))
	b.says("#summary", "Paused")
	b.upload("later.png", picture(color.Black))
	b.says("#list li", "queued")
	b.says("#summary", "0 in work, 1 queued")
	b.click("#pause")
	b.says("#work", "later.png")
	w.photo <- struct{}{}
	b.says("#summary", "4 done")
}

// phone looks at the page on a small dark screen.
func phone(b *browser) {
	b.run(chromedp.EmulateViewport(360, 780))
	dark := emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: "dark"}}}
	if _, err := chromedp.Call(b.ctx, emulation.SetEmulatedMedia, dark); err != nil {
		b.t.Fatal(err)
	}
	b.is("getComputedStyle(document.body).backgroundColor === 'rgb(20, 23, 26)'")
	b.is("document.documentElement.scrollWidth <= 360")
	b.accessible("dark, on a phone")
}

// slider opens a finished photo and moves the slider by keys.
func slider(b *browser) {
	b.click(`button[aria-label="Details portrait.png"]`)
	b.is("document.querySelector('#after').naturalWidth === 64 && !document.querySelector('#compare').hidden")
	for _, text := range []string{"restored", "0.31", "2.25", "20 px"} {
		b.says("#faces tbody tr", text)
	}
	b.is("document.querySelectorAll('#boxes li').length === 1")
	// The box is where the report has it.
	b.is("(() => { const p = document.querySelector('#pictures').getBoundingClientRect(), r = document.querySelector('#boxes li').getBoundingClientRect();" +
		" return Math.abs((r.left - p.left) / p.width - 0.25) < 0.02 && Math.abs((r.top - p.top) / p.height - 0.25) < 0.02; })()")
	b.run(chromedp.Focus(chromedp.CSS("#slider")))
	for range 5 {
		b.run(chromedp.KeyEvent(kb.ArrowRight))
	}
	b.is("document.querySelector('#slider').value === '55'")
	b.is("document.querySelector('#slider').getAttribute('aria-valuetext').startsWith('55 % as it was')")
	b.is("getComputedStyle(document.querySelector('#before')).clipPath.includes('45%')")
	b.run(chromedp.KeyEvent(kb.End))
	b.is("document.querySelector('#slider').value === '100'")
	b.accessible("with the details")
	b.run(chromedp.KeyEvent(kb.Escape))
	b.is("!document.querySelector('#detail').open")

	b.click(`button[aria-label="Details film.mp4"]`)
	// The first moment: 160 pixels of a preview, and one for its second.
	b.is("document.querySelector('#after').naturalWidth === 161 && document.querySelector('#before').naturalWidth === 161 && !document.querySelector('#compare').hidden")
	b.says("#boxes li", "1 restored")
	for _, text := range []string{"restored", "0.27", "1.50", "20 px"} {
		b.says("#faces tbody tr", text)
	}
	b.is("document.querySelectorAll('#faces tbody tr').length === 2 && document.querySelectorAll('#shot option').length === 3")
	b.accessible("with a film's details")
	b.run(chromedp.Focus(chromedp.CSS("#shot")), chromedp.KeyEvent(kb.ArrowDown))
	b.is("document.querySelector('#shot').value === '1' && document.querySelector('#after').naturalWidth === 222")
	b.is("document.querySelector('#boxes li').style.left === '50%'")
	b.run(chromedp.KeyEvent(kb.End))
	b.says("#boxes li", "2 left: already sharp")
	b.click("#close")
}

// River's page works under its own policy, and nothing of it is refused.
func TestBrowserQueue(t *testing.T) {
	w := newWorker()
	b := open(t, serve(t, w, ""))
	b.upload("portrait.png", picture(color.Black))
	b.says("#work", "portrait.png")
	b.run(chromedp.Click(chromedp.CSS(`a[href="/queue/"]`)))
	b.is("location.pathname.startsWith('/queue/')")
	b.is("document.body.innerText.includes('Jobs') && document.body.innerText.includes('photo')")
	b.is("getComputedStyle(document.querySelector('#root *')).display !== 'inline' && document.styleSheets.length > 0")
	w.photo <- struct{}{}
}

// With a token the page asks for it, and shows nothing before.
func TestBrowserLogin(t *testing.T) {
	const token = "0123456789abcdef0123456789abcdef"
	b := open(t, serve(t, newWorker(), token))
	b.is("document.querySelector('#login').open")
	b.accessible("the login")
	b.run(chromedp.SendKeys(chromedp.CSS("#token"), "wrong"+kb.Enter))
	b.says("#login-problem", "isn't the token")
	value[string](b, "document.querySelector('#token').value = ''")
	b.run(chromedp.SendKeys(chromedp.CSS("#token"), token+kb.Enter))
	b.says("#summary", "0 queued")
	b.is("!document.querySelector('#login').open")
	b.run(chromedp.Reload())
	b.says("#summary", "0 queued")
	b.click("#logout")
	b.is("document.querySelector('#login').open")
}
