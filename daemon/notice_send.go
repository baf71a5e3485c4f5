package daemon

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"restored/config"
)

// signatureHeader carries the time of a try and the signature over both.
const signatureHeader = "Restored-Signature"

const (
	// maxSaid is how much of what a command prints is kept for the log, in bytes.
	maxSaid = 2 << 10
	// commandEnd is how long what a command left running may hold its output.
	commandEnd = time.Second
)

// sender tells of files' ends.
type sender struct {
	cfg  config.Notify
	http *http.Client
}

func newSender(cfg config.Notify) sender {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.DisableKeepAlives = true // they are few
	return sender{cfg, &http.Client{
		Transport: transport,
		// Elsewhere the signature would be shown to somebody else.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// noticePaths are a notice's, as bytes.
type noticePaths struct{ in, out string }

// send tells a target once, within the configured time.
func (s sender) send(ctx context.Context, id int64, target string, n Notice, paths noticePaths) error {
	body, err := json.Marshal(n)
	if err != nil {
		return err
	}
	limited, cancel := context.WithTimeout(ctx, s.cfg.Timeout)
	defer cancel()
	switch target {
	case targetURL:
		err = s.post(limited, id, body)
	case targetCommand:
		err = s.run(limited, n, paths, body)
	}
	if err != nil && ctx.Err() == nil && limited.Err() != nil {
		err = fmt.Errorf("took longer than %s (notify.timeout): %w", s.cfg.Timeout, err)
	}
	return err
}

// sign is the signature of a body that is sent at a time.
func sign(secret string, at time.Time, body []byte) string {
	mac := hmac.New(sha256.New, []byte(secret))
	fmt.Fprintf(mac, "%d.%s", at.Unix(), body)
	return fmt.Sprintf("t=%d,v1=%s", at.Unix(), hex.EncodeToString(mac.Sum(nil)))
}

func (s sender) post(ctx context.Context, id int64, body []byte) error {
	if s.cfg.URL == "" {
		return errors.New("notify.url isn't set any more")
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.cfg.URL, bytes.NewReader(body))
	if err != nil {
		return errors.New("notify.url can't be asked") // the error holds the address
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", "restored")
	req.Header.Set("Restored-Delivery", strconv.FormatInt(id, 10))
	if s.cfg.Secret != "" {
		req.Header.Set(signatureHeader, sign(s.cfg.Secret, time.Now(), body))
	}
	resp, err := s.http.Do(req)
	var secret *url.Error // holds the address
	if errors.As(err, &secret) {
		err = secret.Err
	}
	if err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, io.LimitReader(resp.Body, 64<<10))
	err = errors.Join(err, resp.Body.Close())
	if resp.StatusCode/100 != 2 {
		return fmt.Errorf("it answers %s", resp.Status)
	}
	return err
}

// run runs the command for the event, which gets the notice on its standard
// input. Where it takes too long, its process group is killed.
func (s sender) run(ctx context.Context, n Notice, paths noticePaths, body []byte) error {
	command := commandOf(s.cfg, n.Event)
	if len(command) == 0 {
		return fmt.Errorf("notify.on_%s isn't set any more", n.Event)
	}
	said := &tail{}
	cmd := exec.CommandContext(ctx, command[0], command[1:]...)
	cmd.Env = noticeEnv(os.Environ(), n, paths)
	cmd.Dir = "/"
	cmd.Stdin = bytes.NewReader(body)
	cmd.Stdout, cmd.Stderr = said, said
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return unix.Kill(-cmd.Process.Pid, unix.SIGKILL) }
	cmd.WaitDelay = commandEnd
	err := cmd.Run()
	if errors.Is(err, exec.ErrWaitDelay) {
		return nil // it has ended well, and left something running
	}
	if text := said.String(); err != nil && text != "" {
		err = fmt.Errorf("%w: it said %q", err, text)
	}
	return err
}

// noticeEnv is the environment of a command: the daemon's without what is for
// the daemon alone, its own settings among them.
func noticeEnv(own []string, n Notice, paths noticePaths) []string {
	env := slices.DeleteFunc(slices.Clone(own), func(pair string) bool {
		name, _, _ := strings.Cut(pair, "=")
		for _, prefix := range []string{"RESTORED_", "NOTICE_", "NOTIFY_SOCKET", "WATCHDOG_", "LISTEN_"} {
			if strings.HasPrefix(name, prefix) {
				return true
			}
		}
		return false
	})
	clean := func(text string) string { return strings.ReplaceAll(text, "\x00", "") }
	return append(env, "NOTICE_EVENT="+string(n.Event), "NOTICE_ID="+strconv.FormatInt(n.Job.ID, 10),
		"NOTICE_FILE="+paths.in, "NOTICE_OUTPUT="+paths.out, "NOTICE_REASON="+clean(n.Job.Reason))
}

// tail keeps the end of what is written to it.
type tail struct{ bytes []byte }

func (t *tail) Write(p []byte) (int, error) {
	t.bytes = append(t.bytes, p...)
	if over := len(t.bytes) - maxSaid; over > 0 {
		t.bytes = append([]byte(nil), t.bytes[over:]...)
	}
	return len(p), nil
}

func (t *tail) String() string { return strings.TrimSpace(string(t.bytes)) }
