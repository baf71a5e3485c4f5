package config

import (
	"runtime"
	"strconv"
	"time"
)

// Config is the whole configuration. Each field stands for the key of the
// same name in lower case with underscores; option.go says what each means,
// its unit and its range.
type Config struct {
	Watch    []Watch
	Profiles map[string]Profile // nil = none
	State    string
	Workers  int // 0 = by the number of processors, see WorkerCount
	Rescan   time.Duration
	HTTP     HTTP
	Queue    Queue
	Restore  Restore
	Detect   Detect
	Identity Identity
	Photo    Photo
	Video    Video
	Disk     Disk
	Limits   Limits
	Settle   Settle
	Schedule Schedule
	Notify   Notify
	Log      Log
	Paths    Paths
}

// HTTP is the web page and its API.
type HTTP struct {
	Listen string // "" = off
	Token  string // "" = none, which only a loopback address allows
	Hosts  string // further names of this machine, separated by commas
	Upload Bytes  // of one file
}

// Queue is where jobs wait.
type Queue struct {
	URL     string        // "" = SQLite in the state folder
	Root    string        // folder that all machines see; "" = the state folder
	Paths   string        // where this machine sees the daemon's folders: /THEIRS=/OURS, separated by commas
	Take    string        // what this machine does of the work, separated by commas
	Lease   time.Duration // a machine that is silent for so long has lost its work
	Migrate bool          // the daemon prepares the tables at its start
	Timeout time.Duration // a photo that takes longer is stopped and has failed
}

// Restore is the model and how strongly it acts.
type Restore struct {
	Model      string
	Provider   string  // auto, cuda, tensorrt or cpu
	Steps      Steps   // Auto, or the number of diffusion steps
	Blend      float64 // 0 (the photo as it was) to 1 (the model's face)
	SharpBelow float64 // octaves of lost detail under which a face is left alone
}

// Detect is how faces are looked for.
type Detect struct {
	MinFace   int     // pixels, the side of the smallest face that is restored
	Every     int     // frames between two detections in a video
	Threshold float64 // detection score that a face must reach
	MaxPixels int     // larger photos are shrunk to this for detection
	Rotations bool    // turned copies are tried when no face is found upright
}

// Identity is the guard that keeps a restored face the same person.
type Identity struct {
	Limit      float64 // largest descriptor distance between original and restored face
	Unverified string  // what happens to a face with no descriptor: leave or keep
}

// Photo is what is read and written.
type Photo struct {
	NoFace     string // a photo without a face is written as a copy, or skipped
	Provenance bool   // mark outputs as partly machine-made
	MaxPixels  int    // larger photos are refused before they are decoded
}

// Video is how films are worked on and written.
type Video struct {
	Encoder      string        // auto, or FFmpeg's name of the encoder
	Quality      int           // the encoder's CRF or CQ; 0 = visually lossless
	Preset       string        // the encoder's; "" = its default
	Segment      time.Duration // wanted length of the pieces that are worked on by themselves
	Deinterlace  string        // auto or off
	Grain        string        // match or none
	AllowPartial bool          // a truncated file gives what is there, else it has failed
	NoFace       string        // a film without a face is written as a copy, or skipped
	Stall        time.Duration // a step that tells no progress for so long is stopped
}

// Disk is what the work leaves free.
type Disk struct {
	Reserve Bytes // on each of the filesystems that are written
}

// Limits are those of one process that works on files.
type Limits struct {
	Memory Bytes // 0 = by the memory of the machine
	Output Bytes // of one file that it writes

	Frames   int           // of one video
	Duration time.Duration // of one video
}

// Settle is when a file counts as complete.
type Settle struct {
	Quiet time.Duration // size and modification time unchanged for so long
	Max   time.Duration // a file that is still changing after this is warned of
}

// Schedule is the hours of the day in which work is begun, see [ParseHours].
type Schedule struct {
	Photos string // "" = at any time
	Videos string
}

// Notify is who is told of a file's end.
type Notify struct {
	URL      string        // "" = nobody
	Secret   string        // signs what is sent; "" = nothing is signed
	OnDone   []string      // command and arguments; none = no command
	OnFailed []string      // command and arguments
	Timeout  time.Duration // of one try
}

// Log is the log's verbosity.
type Log struct {
	Level string // debug, info, warn or error
}

// Paths says where libraries and models lie. Empty: found beside the binary.
type Paths struct {
	Libraries string
	Models    string
}

// Steps is a number of diffusion steps, or Auto.
type Steps int

// Auto lets each face's degradation decide.
const Auto Steps = -1

// String gives "auto" or the number.
func (s Steps) String() string {
	if s == Auto {
		return "auto"
	}
	return strconv.Itoa(int(s))
}

// Default returns the configuration that holds when nothing is set. The
// shipped sample, systemd/restored.yaml, says the same.
func Default() Config {
	return Config{
		State:    "/var/lib/restored",
		Rescan:   time.Minute,
		HTTP:     HTTP{Upload: 4 << 30},
		Queue:    Queue{Take: "photo,segment,join", Lease: 30 * time.Second, Migrate: true, Timeout: 10 * time.Minute},
		Restore:  Restore{Model: "pltrans-s", Provider: "auto", Steps: Auto, Blend: 1, SharpBelow: 0.5},
		Detect:   Detect{MinFace: 40, Every: 8, MaxPixels: 4_000_000, Rotations: true},
		Identity: Identity{Limit: 0.5, Unverified: "leave"},
		Photo:    Photo{NoFace: "copy", Provenance: true, MaxPixels: 250_000_000},
		Video: Video{Encoder: "auto", Segment: 20 * time.Second, Deinterlace: "auto", Grain: "match",
			NoFace: "copy", Stall: 2 * time.Minute},
		Disk:   Disk{Reserve: 1 << 30},
		Limits: Limits{Output: 1 << 40, Frames: 20_000_000, Duration: 100 * time.Hour},
		Settle: Settle{Quiet: 2 * time.Second, Max: 10 * time.Minute},
		Notify: Notify{Timeout: time.Minute},
		Log:    Log{Level: "info"},
	}
}

// WorkerCount is the number of photos and segments of videos to work on at a time: Workers, or, where
// that is 0, one for each four processors and at least one, because a model's
// session uses several processors by itself.
func (c *Config) WorkerCount() int {
	if c.Workers > 0 {
		return c.Workers
	}
	return max(1, runtime.NumCPU()/4)
}
