package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"testing"

	"github.com/chromedp/chromedp"

	"restored/daemon/web/webtest"
)

// addressOf waits until the daemon serves its page, and says where.
func addressOf(t *testing.T, log *serveLog) string {
	t.Helper()
	served := regexp.MustCompile(`the page is served" address=(http://\S+)`)
	until(t, "the page is served", func() bool { return served.MatchString(log.String()) })
	return served.FindStringSubmatch(log.String())[1]
}

// The page with the real engine behind it: a photo is uploaded and compared
// with its original, a film's progress is seen live, a damaged file fails with
// its reason. daemon/web tests everything else of the page, beside a stand-in.
func TestServePage(t *testing.T) {
	dir := t.TempDir()
	if err := samplePhotos(deps(t), dir); err != nil {
		t.Fatal(err)
	}
	photo, film, cut := filepath.Join(dir, "in", "face.jpg"), filepath.Join(dir, "film.mp4"), filepath.Join(dir, "in", "cut.jpg")
	out, err := exec.Command("ffmpeg", "-v", "error", "-loop", "1", "-framerate", "10", "-i", photo, "-t", "2",
		"-vf", "scale=trunc(iw/2)*2:trunc(ih/2)*2,noise=alls=4:allf=t", "-pix_fmt", "yuv420p", film).CombinedOutput()
	if err != nil {
		t.Fatalf("ffmpeg: %v\n%s", err, out)
	}
	in := filepath.Join(dir, "drop")
	if err := os.Mkdir(in, 0o755); err != nil {
		t.Fatal(err)
	}
	config := filepath.Join(dir, "restored.yaml")
	text := fmt.Sprintf("watch:\n  - {in: %s, out: %s}\nstate: %s\nsettle: {quiet: 100ms}\nhttp: {listen: \"127.0.0.1:0\"}\n",
		in, filepath.Join(dir, "done"), filepath.Join(dir, "state"))
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	_, log := startServe(t, config)

	ctx := webtest.Tab(t)
	do := func(steps ...chromedp.Action[chromedp.Void]) {
		t.Helper()
		if err := chromedp.Do(ctx, steps...); err != nil {
			t.Fatalf("%v; the daemon's log:\n%s", err, log)
		}
	}
	is := func(expression string) {
		t.Helper()
		until(t, expression, func() bool {
			ok, err := chromedp.Run(ctx, chromedp.Evaluate[bool](expression))
			return ok && err == nil
		})
	}
	do(chromedp.Navigate(addressOf(t, log)))
	is("document.querySelector('#folder option') !== null")

	do(chromedp.SetUploadFiles(chromedp.CSS("#files"), []string{photo}))
	is("document.querySelector('#summary').innerText.includes('1 done')")
	do(chromedp.Click(chromedp.CSS(`button[aria-label="Details face.jpg"]`)))
	is("!document.querySelector('#compare').hidden && ['#before', '#after'].every(s => document.querySelector(s).naturalWidth > 100)")
	is("document.querySelector('#faces tbody tr').innerText.includes('restored') && document.querySelectorAll('#boxes li').length === 1")
	do(chromedp.Click(chromedp.CSS("#close")))

	// Pictures are counted while they are worked on: a moment that is noted, so that it can't be missed.
	is("(new MutationObserver(() => { const p = document.querySelector('#work progress')?.value; if (p > 0) window.progressed = true; }))" +
		".observe(document.querySelector('#work'), {subtree: true, childList: true, attributes: true}) === undefined")
	do(chromedp.SetUploadFiles(chromedp.CSS("#files"), []string{film}))
	is("document.querySelector('#summary').innerText.includes('2 done')")
	is("window.progressed === true")
	do(chromedp.Click(chromedp.CSS(`button[aria-label="Details film.mp4"]`)))
	is("document.querySelector('#after').naturalWidth > 100 && document.querySelector('#boxes li').innerText.includes('restored')")
	do(chromedp.Click(chromedp.CSS("#close")))

	do(chromedp.SetUploadFiles(chromedp.CSS("#files"), []string{cut}))
	is("document.querySelector('#list li .bad')?.innerText.includes('damaged or incomplete')")
}
