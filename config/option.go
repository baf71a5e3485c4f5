package config

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Option describes one key.
type Option struct {
	Key     string // as in the file, sections joined by dots
	Env     string // the environment variable that sets it
	Default string // as it would stand in the file
	Doc     string // one sentence or two, with unit and range
}

// option is Option with the place of its value in a Config: a pointer to
// string, int, float64, bool, time.Duration, Steps or Bytes.
type option struct {
	key   string
	doc   string
	value func(*Config) any
}

// options is the one list of keys. The key "watch", a list of mappings, is
// the only one outside it.
var options = []option{
	{"state", "Folder of the queue, the ledger and the lock. One daemon at a time uses it.",
		func(c *Config) any { return &c.State }},
	{"workers", "Photos and segments of videos in work at the same time, 0 to 256. 0 = one for each four processors, at least one.",
		func(c *Config) any { return &c.Workers }},
	{"rescan", "Time between two full looks at the watched folders, 1s to 24h. Events make it faster; this makes it sure.",
		func(c *Config) any { return &c.Rescan }},
	{"http.listen", "Address of the web page and its API, as IP:PORT or localhost:PORT; empty = off. One that others than this machine reach needs http.token.",
		func(c *Config) any { return &c.HTTP.Listen }},
	{"http.token", "Secret that the page asks for, and that programs send as \"Authorization: Bearer …\": 32 to 256 letters, digits or signs. Empty = whoever reaches the address may do everything.",
		func(c *Config) any { return &c.HTTP.Token }},
	{"http.hosts", "Names under which the page is reached besides its address and localhost, separated by commas; a reverse proxy needs its own here.",
		func(c *Config) any { return &c.HTTP.Hosts }},
	{"http.upload", "Largest file that the page takes, 1MiB to 1PiB.",
		func(c *Config) any { return &c.HTTP.Upload }},
	{"queue.url", "PostgreSQL to share the queue with the workers of other machines, as postgres://USER:PASSWORD@HOST/DATABASE. Empty = SQLite in the state folder.",
		func(c *Config) any { return &c.Queue.URL }},
	{"queue.root", "Folder for the work on videos, on storage that all machines see; only the daemon's counts. Empty = the state folder.",
		func(c *Config) any { return &c.Queue.Root }},
	{"queue.paths", "Where this machine sees the daemon's folders, if not under the same paths: /THEIRS=/OURS, separated by commas. Only a worker's counts.",
		func(c *Config) any { return &c.Queue.Paths }},
	{"queue.take", "What this machine does of a shared queue: photo, segment (of videos, and their plans), join, separated by commas; or none.",
		func(c *Config) any { return &c.Queue.Take }},
	{"queue.lease", "Machines that a shared queue hasn't heard of for this long have lost their work to others, 2s to 10m; only the daemon's counts. A machine that doesn't reach the database stops its work after half of it.",
		func(c *Config) any { return &c.Queue.Lease }},
	{"queue.migrate", "The daemon prepares and upgrades the tables in PostgreSQL at its start; otherwise restored migrate does.",
		func(c *Config) any { return &c.Queue.Migrate }},
	{"queue.timeout", "A photo that takes longer than this has failed, 10s to 24h.",
		func(c *Config) any { return &c.Queue.Timeout }},
	{"restore.model", "Name of a model (restored models list): built in are pltrans-s and pltrans-s-int8 (1.3 to 2 times as fast on CPUs, slightly less exact). Or the path of an ONNX file.",
		func(c *Config) any { return &c.Restore.Model }},
	{"restore.provider", "What the model runs on: auto, cuda, tensorrt or cpu. Only auto falls back.",
		func(c *Config) any { return &c.Restore.Provider }},
	{"restore.steps", "Diffusion steps of the model: auto (by the degradation of each face), or 0 to 12.",
		func(c *Config) any { return &c.Restore.Steps }},
	{"restore.blend", "Share of the restored face in the result, 0 to 1.",
		func(c *Config) any { return &c.Restore.Blend }},
	{"restore.sharp_below", "A face that lacks less than this many octaves of detail is sharp already and left as it is; 0 to 8, 0 = restore sharp faces too.",
		func(c *Config) any { return &c.Restore.SharpBelow }},
	{"detect.min_face", "Smallest face that is restored, in pixels of its side, 16 to 4096.",
		func(c *Config) any { return &c.Detect.MinFace }},
	{"detect.every", "Frames between two detections in a video, 1 to 1000.",
		func(c *Config) any { return &c.Detect.Every }},
	{"detect.threshold", "Detection score that a face must reach, -2 to 5. Less finds more faces, and more that are none.",
		func(c *Config) any { return &c.Detect.Threshold }},
	{"detect.max_pixels", "Photos with more pixels are shrunk to this many for detection, 100000 to 200000000. With 4000000 the smallest face found in a photo of 12 megapixels has about 140 pixels.",
		func(c *Config) any { return &c.Detect.MaxPixels }},
	{"detect.rotations", "Look for faces in turned copies of a photo when none is found upright.",
		func(c *Config) any { return &c.Detect.Rotations }},
	{"identity.limit", "Largest distance between the descriptors of the original and the restored face (dlib's scale: 0.6 tells persons apart), above 0 to 2.",
		func(c *Config) any { return &c.Identity.Limit }},
	{"identity.unverified", "A face whose identity cannot be measured: leave (as it was) or keep (the restored one).",
		func(c *Config) any { return &c.Identity.Unverified }},
	{"photo.no_face", "A photo in which no face is found: copy (the file as it is) or skip (no output).",
		func(c *Config) any { return &c.Photo.NoFace }},
	{"photo.provenance", "Mark every output as partly machine-made (IPTC digital source type).",
		func(c *Config) any { return &c.Photo.Provenance }},
	{"photo.max_pixels", "Photos with more pixels are refused before they are decoded, 1000000 to 260000000.",
		func(c *Config) any { return &c.Photo.MaxPixels }},
	{"video.encoder", "Encoder of videos: auto (the codec family and the depth of the original), libx264, libx265, libsvtav1, ffv1, h264_nvenc, hevc_nvenc, av1_nvenc, h264_vaapi, hevc_vaapi, h264_qsv or hevc_qsv.",
		func(c *Config) any { return &c.Video.Encoder }},
	{"video.quality", "The encoder's CRF or CQ, 0 to 63; less is better. 0 = visually lossless.",
		func(c *Config) any { return &c.Video.Quality }},
	{"video.preset", "The encoder's preset, as FFmpeg names it. Empty = the encoder's own default.",
		func(c *Config) any { return &c.Video.Preset }},
	{"video.segment", "Length of the pieces in which a video is worked on, 2s to 10m; they are cut at keyframes. A crash costs at most the pieces in work.",
		func(c *Config) any { return &c.Video.Segment }},
	{"video.deinterlace", "Interlaced videos: auto (deinterlaced, and the report says so) or off (as they are).",
		func(c *Config) any { return &c.Video.Deinterlace }},
	{"video.grain", "Grain of a restored face in a video: match (that of its surroundings) or none.",
		func(c *Config) any { return &c.Video.Grain }},
	{"video.allow_partial", "A truncated video gives what is there, and the report says so; otherwise it has failed.",
		func(c *Config) any { return &c.Video.AllowPartial }},
	{"video.no_face", "A video in which no face is found: copy (the file as it is) or skip (no output).",
		func(c *Config) any { return &c.Video.NoFace }},
	{"video.stall", "Work on a video that gets no further for this long is stopped, tried once more with one decoder thread, and then has failed; 10s to 1h.",
		func(c *Config) any { return &c.Video.Stall }},
	{"disk.reserve", "Space that is left free on the filesystems of the work and the outputs, 0 to 1PiB, like 500MB or 1GiB. Work that would need it waits.",
		func(c *Config) any { return &c.Disk.Reserve }},
	{"limits.memory", "Memory that one process may hold that works on files; more ends it, and the file has failed. 512MiB to 1PiB, or 0: three quarters of the machine's memory, shared by the workers, from 2GiB to 16GiB each.",
		func(c *Config) any { return &c.Limits.Memory }},
	{"limits.output", "Largest file that is written, 1MiB to 1PiB; one that would be larger has failed.",
		func(c *Config) any { return &c.Limits.Output }},
	{"limits.frames", "Pictures of one video, 1 to 1000000000; a longer one has failed before it is worked on.",
		func(c *Config) any { return &c.Limits.Frames }},
	{"limits.duration", "Length of one video, 1s to 10000h; a longer one has failed before it is worked on.",
		func(c *Config) any { return &c.Limits.Duration }},
	{"settle.quiet", "A file is taken when size and modification time have not changed for this long, 100ms to 1h.",
		func(c *Config) any { return &c.Settle.Quiet }},
	{"settle.max", "A file that still changes after this long is warned of, and still waited for; at least settle.quiet, at most 24h.",
		func(c *Config) any { return &c.Settle.Max }},
	{"schedule.photos", "Hours of the day in which photos are begun, in local time, like \"22:00-06:00\". Empty = at any time.",
		func(c *Config) any { return &c.Schedule.Photos }},
	{"schedule.videos", "Hours of the day in which the steps of videos (plan, segments, join) are begun. Empty = at any time.",
		func(c *Config) any { return &c.Schedule.Videos }},
	{"notify.url", "Address (http or https) to which a file's end is posted as JSON, whether it is done or has failed. Empty = none.",
		func(c *Config) any { return &c.Notify.URL }},
	{"notify.secret", "Secret with which what is posted is signed (HMAC-SHA256), 16 to 256 letters, digits or signs. Empty = unsigned.",
		func(c *Config) any { return &c.Notify.Secret }},
	{"notify.on_done", "Command that is run when a file is done, as a list of its absolute path and its arguments; no shell reads it. It gets the same JSON on its standard input. Empty = none.",
		func(c *Config) any { return &c.Notify.OnDone }},
	{"notify.on_failed", "Command that is run when a file has failed, as on_done. Empty = none.",
		func(c *Config) any { return &c.Notify.OnFailed }},
	{"notify.timeout", "How long one try of these may take, 1s to 1h. What fails is tried again for a day.",
		func(c *Config) any { return &c.Notify.Timeout }},
	{"log.level", "debug, info, warn or error.",
		func(c *Config) any { return &c.Log.Level }},
	{"paths.libraries", "Folder of the ONNX Runtime library. Empty = found beside the binary.",
		func(c *Config) any { return &c.Paths.Libraries }},
	{"paths.models", "Folder of dlib's and other models. Empty = found beside the binary.",
		func(c *Config) any { return &c.Paths.Models }},
}

// secretKeys are those whose values are never shown.
var secretKeys = []string{"http.token", "notify.secret"}

// Reference lists every key but "watch", in the order of the sample file.
func Reference() []Option {
	c := Default()
	out := make([]Option, len(options))
	for i, o := range options {
		out[i] = Option{Key: o.key, Env: envName(o.key), Default: format(o.value(&c)), Doc: o.doc}
	}
	return out
}

// Value returns the value of a key of [Reference] as it would stand in the
// file, and whether there is such a key.
func (c *Config) Value(key string) (string, bool) {
	for _, o := range options {
		if o.key == key {
			return format(o.value(c)), true
		}
	}
	return "", false
}

func envName(key string) string {
	return envPrefix + strings.ToUpper(strings.ReplaceAll(key, ".", "_"))
}

// format writes the value behind an option's pointer as YAML.
func format(p any) string {
	switch v := p.(type) {
	case *string:
		if *v == "" {
			return `""`
		}
		return *v
	case *float64:
		return strconv.FormatFloat(*v, 'g', -1, 64)
	case *int:
		return strconv.Itoa(*v)
	case *bool:
		return strconv.FormatBool(*v)
	case *Steps:
		return v.String()
	case *Bytes:
		return v.String()
	case *time.Duration:
		return formatDuration(*v)
	case *[]string:
		quoted := make([]string, len(*v))
		for i, s := range *v {
			quoted[i] = strconv.Quote(s)
		}
		return "[" + strings.Join(quoted, ", ") + "]"
	}
	panic(fmt.Sprintf("config: option of type %T", p))
}

// formatDuration is Duration.String without the zero units at its end: "10m",
// not "10m0s".
func formatDuration(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}
