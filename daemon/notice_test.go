package daemon

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

const hookSecret = "0123456789abcdef"

// notifyEnv, set to an address, has the child of a kill test tell it.
const notifyEnv = "DAEMON_TEST_NOTIFY"

// hook is a server that is told, and answers as the test says.
type hook struct {
	t      *testing.T
	url    string
	answer func(n int, r *http.Request) int // to the n'th request

	mu       sync.Mutex
	requests int
	told     []Notice // those that were answered well
	ids      []string
}

func newHook(t *testing.T, answer func(n int, r *http.Request) int) *hook {
	h := &hook{t: t, answer: answer}
	server := httptest.NewServer(h)
	t.Cleanup(server.Close)
	h.url = server.URL + "/hook?key=of-mine"
	return h
}

func (h *hook) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	h.mu.Lock()
	h.requests++
	n := h.requests
	h.mu.Unlock()
	code := h.answer(n, r)
	var notice Notice
	if err == nil {
		err = json.Unmarshal(body, &notice)
	}
	if err == nil {
		err = signed(r.Header.Get(signatureHeader), body)
	}
	if r.Context().Err() == nil && (err != nil || r.Method != http.MethodPost || r.Header.Get("Content-Type") != "application/json" || r.URL.Query().Get("key") != "of-mine") {
		h.t.Errorf("%s %s %q: %v", r.Method, r.URL, body, err)
	}
	if code == http.StatusOK {
		h.mu.Lock()
		h.told = append(h.told, notice)
		h.ids = append(h.ids, r.Header.Get("Restored-Delivery"))
		h.mu.Unlock()
	}
	w.WriteHeader(code)
}

// signed checks a signature in the way that docs/notify.md describes.
func signed(header string, body []byte) error {
	at, signature, ok := strings.Cut(header, ",v1=")
	at, ok2 := strings.CutPrefix(at, "t=")
	seconds, err := strconv.ParseInt(at, 10, 64)
	if !ok || !ok2 || err != nil || time.Since(time.Unix(seconds, 0)).Abs() > time.Minute {
		return fmt.Errorf("signature %q", header)
	}
	mac := hmac.New(sha256.New, []byte(hookSecret))
	mac.Write([]byte(at + "."))
	mac.Write(body)
	if hex.EncodeToString(mac.Sum(nil)) != signature {
		return errors.New("another's signature")
	}
	return nil
}

func (h *hook) got() (requests int, told []Notice) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.requests, append([]Notice(nil), h.told...)
}

func failing(_ context.Context, job Job) error {
	if strings.Contains(job.In, "bad") {
		return errors.New("no photo")
	}
	return nil
}

// An address is told of what is done and what has failed, again until it
// answers well.
func TestNoticeURL(t *testing.T) {
	h := newHook(t, func(n int, _ *http.Request) int {
		return []int{http.StatusInternalServerError, http.StatusFound, http.StatusNotFound, http.StatusOK}[min(n-1, 3)]
	})
	s := newSite(t)
	s.cfg.Notify.URL, s.cfg.Notify.Secret = h.url, hookSecret
	s.start(&proc{before: failing})
	path := s.put("a.jpg", "xyz")
	s.put("bad.jpg", "b")
	wait(t, "two notices", func() bool { _, told := h.got(); return len(told) == 2 })
	requests, told := h.got()
	if requests != 5 {
		t.Errorf("%d requests, want 5", requests)
	}
	if told[0].Event != Done {
		told[0], told[1] = told[1], told[0]
	}
	if n := told[0]; n.Event != Done || n.Job.Path != path || n.Job.State != Done || n.Job.Out != filepath.Join(s.out, "a.jpg") ||
		string(n.Job.Report) != `{"bytes":3}` || n.Job.Finished == nil || n.Time.IsZero() {
		t.Errorf("%+v", n)
	}
	if n := told[1]; n.Event != Failed || n.Job.Reason != "no photo" || n.Job.Out != "" || n.Job.Report != nil {
		t.Errorf("%+v", n)
	}
	if h.ids[0] == h.ids[1] || h.ids[0] == "" {
		t.Errorf("deliveries %q", h.ids)
	}
	for _, secret := range []string{"of-mine", hookSecret} {
		if strings.Contains(s.logged(), secret) {
			t.Errorf("%q is in the log", secret)
		}
	}
}

// Whoever doesn't answer holds up no photo, and a stop ends the waiting.
func TestNoticeHoldsUpNothing(t *testing.T) {
	release := make(chan struct{})
	h := newHook(t, func(int, *http.Request) int { <-release; return http.StatusOK })
	s := newSite(t)
	s.cfg.Notify.URL, s.cfg.Notify.Secret = h.url, hookSecret
	s.drain = time.Second
	stop := s.start(&proc{})
	for i := range 2 * noticeWorkers {
		s.put(fmt.Sprintf("%d.jpg", i), fmt.Sprint(i))
	}
	wait(t, "all photos", func() bool { return countsOf(t, s)[Done] == 2*noticeWorkers })
	wait(t, "the first notices", func() bool { n, _ := h.got(); return n == noticeWorkers })
	stop()
	close(release)
	s.start(&proc{})
	wait(t, "all notices", func() bool { return len(deliveries(h)) == 2*noticeWorkers })
}

// deliveries are the files that were told of.
func deliveries(h *hook) map[string]int {
	_, told := h.got()
	files := map[string]int{}
	for _, n := range told {
		files[n.Job.Path]++
	}
	return files
}

// A process that is killed while it tells does so again after its start, and
// tells of each file.
func TestNoticeSurvivesKill(t *testing.T) {
	dead := make(chan struct{})
	h := newHook(t, func(n int, r *http.Request) int {
		if n == 1 {
			return http.StatusServiceUnavailable
		}
		select {
		case <-dead:
			return http.StatusOK
		default:
			<-dead
			return http.StatusBadGateway // nobody hears it
		}
	})
	t.Setenv(notifyEnv, h.url)
	dir := t.TempDir()
	s := siteAt(t, dir)
	const n = 6
	for i := range n {
		s.put(fmt.Sprintf("%d.jpg", i), fmt.Sprint("photo ", i))
	}
	killWhen(t, dir, "outputs and a notice under way", func() bool {
		requests, _ := h.got()
		return outputs(t, dir) == n && countsOf(t, s)[Done] == n && requests >= 2
	})
	close(dead)
	s.cfg.Notify.URL, s.cfg.Notify.Secret = h.url, hookSecret
	s.start(&proc{})
	wait(t, "all notices", func() bool { return len(deliveries(h)) == n })
	for path, times := range deliveries(h) {
		if times != 1 {
			t.Errorf("%s was told %d times", path, times)
		}
	}
}

// script writes a program.
func script(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "script")
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+text), 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}

// A command gets the notice on its standard input and some of it in its
// environment; no shell sees a name, and the first failure isn't the last try.
func TestNoticeCommand(t *testing.T) {
	t.Setenv("RESTORED_LOG_LEVEL", "info")
	t.Setenv("NOTIFY_SOCKET", "")
	dir := t.TempDir()
	done := script(t, `cd "$1" || exit 1; [ -e tried ] || { echo first >&2; touch tried; exit 3; }
env > env; cat > new; mv new done`)
	bad := script(t, `cat > "$1/new"; mv "$1/new" "$1/failed"`)
	s := newSite(t)
	s.cfg.Notify.OnDone, s.cfg.Notify.OnFailed = []string{done, dir, "$(touch evil)"}, []string{bad, dir}
	s.start(&proc{before: failing})
	path := s.put("a $(touch evil)\xff.jpg", "x")
	s.put("bad.jpg", "b")
	read := func(name string) string {
		t.Helper()
		wait(t, name, func() bool { _, err := os.Stat(filepath.Join(dir, name)); return err == nil })
		data, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		return string(data)
	}
	var n Notice
	if err := json.Unmarshal([]byte(read("done")), &n); err != nil || n.Event != Done || string(n.Job.Report) != `{"bytes":1}` {
		t.Errorf("%+v, %v", n, err)
	}
	env := "\n" + read("env")
	for _, want := range []string{"\nNOTICE_EVENT=done\n", "\nNOTICE_ID=" + strconv.FormatInt(n.Job.ID, 10) + "\n", "\nNOTICE_FILE=" + path + "\n",
		"\nNOTICE_OUTPUT=" + filepath.Join(s.out, filepath.Base(path)) + "\n", "\nNOTICE_REASON=\n", "\nPATH="} {
		if !strings.Contains(env, want) {
			t.Errorf("no %q in %s", want, env)
		}
	}
	for _, never := range []string{"RESTORED_", "NOTIFY_SOCKET"} {
		if strings.Contains(env, "\n"+never) {
			t.Errorf("%s in %s", never, env)
		}
	}
	if err := json.Unmarshal([]byte(read("failed")), &n); err != nil || n.Event != Failed || n.Job.Reason != "no photo" {
		t.Errorf("%+v, %v", n, err)
	}
	if _, err := os.Stat(filepath.Join(dir, "evil")); err == nil {
		t.Error("a shell has read a name")
	}
	if !strings.Contains(s.logged(), `exit status 3: it said \"first\"`) {
		t.Error("what the command said isn't in the log")
	}
}

// A command that takes too long is killed with all that it has started.
func TestNoticeCommandTimeLimit(t *testing.T) {
	dir := t.TempDir()
	slow := script(t, `sleep 600 & echo $! > "$1/new"; mv "$1/new" "$1/pid"; wait`)
	s := newSite(t)
	s.cfg.Notify.OnDone, s.cfg.Notify.Timeout = []string{slow, dir}, time.Second
	s.start(&proc{})
	s.put("a.jpg", "x")
	wait(t, "the time limit", func() bool { return strings.Contains(s.logged(), "took longer than 1s (notify.timeout)") })
	data, err := os.ReadFile(filepath.Join(dir, "pid"))
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(data)))
	if err != nil {
		t.Fatal(err)
	}
	wait(t, "the end of what it started", func() bool { return gone(pid) })
}

// gone tells whether a process has ended; one that nobody has reaped has, too.
func gone(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return unix.Kill(pid, 0) != nil || err != nil || strings.Contains(string(stat), ") Z ")
}

// Notices aren't kept for ever: neither too many, nor too long, nor for nobody.
func TestNoticesAreBounded(t *testing.T) {
	h := newHook(t, func(int, *http.Request) int { return http.StatusTeapot })
	s := newSite(t)
	s.cfg.Notify.URL, s.cfg.Notify.Secret = h.url, hookSecret
	p := &proc{}
	stop := s.start(p)
	s.put("a.jpg", "x")
	wait(t, "a try", func() bool { n, _ := h.got(); return n > 0 })
	stop()
	fill := func(query string, args ...any) {
		t.Helper()
		db := s.beside()
		defer db.Close()
		if _, err := db.Exec(query, args...); err != nil {
			t.Fatal(err)
		}
	}
	fill("UPDATE river_job SET args = json_replace(args, '$.notice.time', '2020-01-02T03:04:05Z') WHERE kind = 'notice'")
	stop = s.start(p)
	wait(t, "the old notice to be given up", func() bool { return strings.Contains(s.logged(), "notice given up") })
	stop()
	fill(`INSERT INTO river_job (args, kind, max_attempts, priority, queue, state, scheduled_at, metadata)
		WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?)
		SELECT '{}', 'notice', 1, 1, 'notices', 'retryable', datetime('now', '+2 hours'), '{}' FROM n`, maxNotices)
	stop = s.start(p)
	s.put("b.jpg", "y")
	wait(t, "one too many", func() bool { return strings.Contains(s.logged(), "too many notices wait") })
	wait(t, "b.jpg", func() bool { return countsOf(t, s)[Done] == 2 })
	stop()
	s.cfg.Notify.URL, s.cfg.Notify.Secret = "", ""
	s.start(p)
	db := s.beside()
	defer db.Close()
	if n, err := noticesWaiting(t.Context(), db); n != 0 || err != nil {
		t.Errorf("%d notices for nobody, %v", n, err)
	}
}
