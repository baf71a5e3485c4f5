package config

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Validate checks every section. The error joins all that is wrong, each an
// *Error. [Load] has done it already; call it after changing a Config.
func (c *Config) Validate() error { return errors.Join(c.problems()...) }

func (c *Config) problems() []error {
	v := &validation{}
	v.watch(c.Watch)
	v.profiles(c)
	v.text("state", c.State)
	v.span("workers", c.Workers, 0, 256)
	v.between("rescan", c.Rescan, time.Second, 24*time.Hour)
	v.queue(c.Queue)
	v.http(c.HTTP)
	v.restore(c.Restore)
	v.detect(c.Detect)
	if c.Identity.Limit <= 0 || c.Identity.Limit > 2 {
		v.add("identity.limit", c.Identity.Limit, "must be above 0 and at most 2")
	}
	v.oneOf("identity.unverified", c.Identity.Unverified, "leave", "keep")
	v.oneOf("photo.no_face", c.Photo.NoFace, "copy", "skip")
	v.span("photo.max_pixels", c.Photo.MaxPixels, 1_000_000, 260_000_000)
	v.video(c.Video)
	if c.Disk.Reserve < 0 || c.Disk.Reserve > 1<<50 {
		v.add("disk.reserve", c.Disk.Reserve, "must be from 0 to 1PiB")
	}
	if m := c.Limits.Memory; m != 0 && (m < 512<<20 || m > 1<<50) {
		v.add("limits.memory", m, "must be 0 or from 512MiB to 1PiB")
	}
	if c.Limits.Output < 1<<20 || c.Limits.Output > 1<<50 {
		v.add("limits.output", c.Limits.Output, "must be from 1MiB to 1PiB")
	}
	v.span("limits.frames", c.Limits.Frames, 1, 1_000_000_000)
	v.between("limits.duration", c.Limits.Duration, time.Second, 10_000*time.Hour)
	v.between("settle.quiet", c.Settle.Quiet, 100*time.Millisecond, time.Hour)
	v.between("settle.max", c.Settle.Max, c.Settle.Quiet, 24*time.Hour)
	v.hours("schedule.photos", c.Schedule.Photos)
	v.hours("schedule.videos", c.Schedule.Videos)
	v.notify(c.Notify)
	v.oneOf("log.level", c.Log.Level, "debug", "info", "warn", "error")
	return v.problems
}

type validation struct{ problems []error }

func (v *validation) add(key string, value any, reason string) {
	shown := fmt.Sprint(value)
	if s, ok := value.(string); ok {
		shown = show(s)
	}
	if d, ok := value.(time.Duration); ok {
		shown = formatDuration(d)
	}
	v.problems = append(v.problems, &Error{Key: key, Value: shown, Reason: reason})
}

// http never shows the token.
func (v *validation) http(h HTTP) {
	local, err := h.loopback()
	switch {
	case h.Listen == "":
	case err != nil:
		v.add("http.listen", h.Listen, err.Error())
	case !local && h.Token == "":
		v.add("http.listen", h.Listen, "others than this machine reach it, and so http.token must be set (openssl rand -hex 32 makes one)")
	}
	if n := len(h.Token); n != 0 && (n < 32 || n > 256 || strings.ContainsFunc(h.Token, odd)) {
		v.add("http.token", "…", "must be 32 to 256 letters, digits or signs, without spaces (openssl rand -hex 32 makes one)")
	}
	for _, name := range h.Names() {
		if name == "" || strings.ContainsAny(name, ":/*@ ") {
			v.add("http.hosts", h.Hosts, "must be names without scheme and port, separated by commas")
			break
		}
	}
	if h.Upload < 1<<20 || h.Upload > 1<<50 {
		v.add("http.upload", h.Upload, "must be from 1MiB to 1PiB")
	}
}

// odd are characters that a secret doesn't have.
func odd(r rune) bool { return r <= ' ' || r > '~' }

// notify never shows what may be a secret.
func (v *validation) notify(n Notify) {
	if n.URL != "" {
		u, err := url.Parse(n.URL)
		if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" || strings.ContainsFunc(n.URL, odd) {
			v.add("notify.url", redactPath(n.URL), "must be an address like https://example.org/hook")
		}
	}
	if k := len(n.Secret); k != 0 && (k < 16 || k > 256 || strings.ContainsFunc(n.Secret, odd)) {
		v.add("notify.secret", "…", "must be 16 to 256 letters, digits or signs, without spaces (openssl rand -hex 32 makes one)")
	}
	if n.Secret != "" && n.URL == "" {
		v.add("notify.secret", "…", "signs what is posted to notify.url, which isn't set")
	}
	v.command("notify.on_done", n.OnDone)
	v.command("notify.on_failed", n.OnFailed)
	v.between("notify.timeout", n.Timeout, time.Second, time.Hour)
}

func (v *validation) command(key string, command []string) {
	if len(command) == 0 {
		return
	}
	if !filepath.IsAbs(command[0]) {
		v.add(key, command[0], "must begin with the absolute path of a program")
	}
	for _, arg := range command {
		if strings.ContainsRune(arg, 0) {
			v.add(key, arg, "must not contain a NUL character")
		}
	}
}

// loopback tells whether only this machine reaches the address.
func (h HTTP) loopback() (bool, error) {
	host, port, err := net.SplitHostPort(h.Listen)
	if err == nil {
		_, err = strconv.ParseUint(port, 10, 16)
	}
	ip, parseErr := netip.ParseAddr(host)
	if err != nil || host != "localhost" && parseErr != nil {
		return false, errors.New("must be IP:PORT or localhost:PORT, like 127.0.0.1:8760 (0.0.0.0:8760 = all addresses)")
	}
	return host == "localhost" || ip.IsLoopback(), nil
}

// Names are those of Hosts, in lower case.
func (h HTTP) Names() []string {
	if h.Hosts == "" {
		return nil
	}
	names := strings.Split(strings.ToLower(h.Hosts), ",")
	for i := range names {
		names[i] = strings.TrimSpace(names[i])
	}
	return names
}

// Takes are the parts of Take; none has none.
func (q Queue) Takes() []string {
	if q.Take == "none" {
		return nil
	}
	takes := strings.Split(q.Take, ",")
	for i := range takes {
		takes[i] = strings.TrimSpace(takes[i])
	}
	return takes
}

func (v *validation) queue(q Queue) {
	if u, err := url.Parse(q.URL); q.URL != "" && (err != nil || u.Scheme != "postgres" && u.Scheme != "postgresql") {
		v.add("queue.url", redact(q.URL), `must be "" or postgres://USER:PASSWORD@HOST/DATABASE`)
	}
	for pair := range strings.SplitSeq(q.Paths, ",") {
		theirs, ours, _ := strings.Cut(strings.TrimSpace(pair), "=")
		if q.Paths != "" && (!strings.HasPrefix(theirs, "/") || !strings.HasPrefix(ours, "/")) {
			v.add("queue.paths", q.Paths, "must be /THEIRS=/OURS, separated by commas")
			break
		}
	}
	for _, what := range q.Takes() {
		if !slices.Contains([]string{"photo", "segment", "join"}, what) {
			v.add("queue.take", q.Take, "must be of photo, segment and join, separated by commas, or none")
			break
		}
	}
	v.between("queue.lease", q.Lease, 2*time.Second, 10*time.Minute)
	v.between("queue.timeout", q.Timeout, 10*time.Second, 24*time.Hour)
}

func (v *validation) restore(r Restore) {
	v.text("restore.model", r.Model)
	v.oneOf("restore.provider", r.Provider, "auto", "cuda", "tensorrt", "cpu")
	if r.Steps < Auto || r.Steps > 12 {
		v.add("restore.steps", int(r.Steps), "must be auto or a whole number from 0 to 12")
	}
	v.real("restore.blend", r.Blend, 0, 1)
	v.real("restore.sharp_below", r.SharpBelow, 0, 8)
}

func (v *validation) detect(d Detect) {
	v.span("detect.min_face", d.MinFace, 16, 4096)
	v.span("detect.every", d.Every, 1, 1000)
	v.real("detect.threshold", d.Threshold, -2, 5)
	v.span("detect.max_pixels", d.MaxPixels, 100_000, 200_000_000)
}

// encoders are those that video.encoder takes. Which of them work here is only
// known when one is opened.
var encoders = []string{
	"auto", "libx264", "libx265", "libsvtav1", "ffv1", "h264_nvenc", "hevc_nvenc", "av1_nvenc",
	"h264_vaapi", "hevc_vaapi", "h264_qsv", "hevc_qsv",
}

func (v *validation) video(o Video) {
	v.oneOf("video.encoder", o.Encoder, encoders...)
	v.span("video.quality", o.Quality, 0, 63)
	if strings.ContainsRune(o.Preset, 0) {
		v.add("video.preset", o.Preset, "must not contain a NUL character")
	}
	v.between("video.segment", o.Segment, 2*time.Second, 10*time.Minute)
	v.oneOf("video.deinterlace", o.Deinterlace, "auto", "off")
	v.oneOf("video.grain", o.Grain, "match", "none")
	v.oneOf("video.no_face", o.NoFace, "copy", "skip")
	v.between("video.stall", o.Stall, 10*time.Second, time.Hour)
}

func (v *validation) hours(key, value string) {
	if _, err := ParseHours(value); err != nil {
		v.add(key, value, err.Error())
	}
}

func (v *validation) text(key, value string) {
	switch {
	case value == "":
		v.add(key, value, "must not be empty")
	case strings.ContainsRune(value, 0):
		v.add(key, value, "must not contain a NUL character")
	}
}

func (v *validation) oneOf(key, value string, allowed ...string) {
	if !slices.Contains(allowed, value) {
		v.add(key, value, "must be one of "+strings.Join(allowed, ", ")+suggest(value, allowed))
	}
}

func (v *validation) span(key string, value, low, high int) {
	if value < low || value > high {
		v.add(key, value, fmt.Sprintf("must be from %d to %d", low, high))
	}
}

func (v *validation) real(key string, value, low, high float64) {
	if !(value >= low && value <= high) { // also true for NaN
		v.add(key, value, fmt.Sprintf("must be from %g to %g", low, high))
	}
}

func (v *validation) between(key string, value, low, high time.Duration) {
	if value < low || value > high {
		v.add(key, value, "must be from "+formatDuration(low)+" to "+formatDuration(high))
	}
}

// redactPath leaves scheme and host of a URL: what follows is often a secret.
func redactPath(address string) string {
	u, err := url.Parse(address)
	if err != nil || u.Host == "" {
		return "…"
	}
	return u.Scheme + "://" + u.Host + "/…"
}

// redact takes the password out of a URL before it reaches a log.
func redact(address string) string {
	scheme, rest, ok := strings.Cut(address, "://")
	if !ok {
		return address
	}
	if at := strings.LastIndex(rest, "@"); at >= 0 {
		rest = "…" + rest[at:]
	}
	return scheme + "://" + rest
}
