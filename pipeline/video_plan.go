package pipeline

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"restored/media"
)

// planVersion is that of the files in a work folder; another one's are made anew.
const planVersion = 2

// VideoOptions are the part of Options that concerns videos.
type VideoOptions struct {
	Every      int           // pictures between two scans for faces
	Segment    time.Duration // length that segments aim at; they are cut at keyframes
	Encode     media.EncodeOptions
	Grain      bool // match the grain of the surroundings in the restored face
	Partial    bool // a truncated file gives what is there, instead of an error
	CopyNoFace bool // a video with nothing to restore is copied, not skipped
	Always     bool // encode also what nothing is restored in, for benchmarks

	MaxFrames   int64         // longer videos are refused by their plan
	MaxDuration time.Duration // this too; 0 = no bound, for both
}

// A Segment is a piece of a video that is worked on by itself: the pictures with
// timestamps From ≤ PTS < To, in the stream's time base; media.NoTime is no bound.
type Segment struct {
	From int64 `json:"from"`
	To   int64 `json:"to"`
}

// A Plan says how a video will be worked on. It is a file in the video's work
// folder; every machine that works on the video goes by it.
type Plan struct {
	Version  int    `json:"version"`
	Input    string `json:"input"`
	Path     []byte `json:"path"` // Input as it is: it needn't be UTF-8
	Size     int64  `json:"size"` // of the input, with its modification time: another version is another plan
	MtimeNS  int64  `json:"mtime_ns"`
	Settings string `json:"settings"` // hash of the model and the options that shape the result

	Video    media.Video    `json:"video"`
	Index    media.Index    `json:"index"`
	Encoding media.Encoding `json:"encoding"`
	Segments []Segment      `json:"segments"`

	WorkBytes int64 `json:"work_bytes"` // estimate of what the work folder will hold
	OutBytes  int64 `json:"out_bytes"`  // estimate of the output
}

// segmentSlack is how much shorter or longer than asked a segment may be.
const segmentSlack = 3

// PlanVideo makes the plan for the video in, or reads it from the folder work if
// that has one for the same file, model and options. What the folder holds of
// another plan is removed. tell hears of the pass over the packets.
func (e *Engine) PlanVideo(ctx context.Context, in, work string, tell Tell) (Plan, error) {
	info, err := os.Stat(in)
	if err != nil {
		return Plan{}, err
	}
	settings := e.settings()
	if p, err := loadPlan(work); err == nil && p.Input == in && p.Size == info.Size() &&
		p.MtimeNS == info.ModTime().UnixNano() && p.Settings == settings {
		return p, nil
	}
	p, err := e.plan(ctx, in, tell)
	if err != nil {
		return Plan{}, fmt.Errorf("plan %s: %w", in, err)
	}
	p.Size, p.MtimeNS, p.Settings = info.Size(), info.ModTime().UnixNano(), settings
	if err := os.RemoveAll(work); err != nil {
		return Plan{}, fmt.Errorf("plan %s: %w", in, err)
	}
	if err := os.MkdirAll(work, 0o750); err != nil {
		return Plan{}, fmt.Errorf("plan %s: %w", in, err)
	}
	data, err := json.MarshalIndent(p, "", "\t")
	if err != nil {
		return Plan{}, fmt.Errorf("plan %s: %w", in, err)
	}
	if err := writeWhole(filepath.Join(work, planName), data); err != nil {
		return Plan{}, fmt.Errorf("plan %s: %w", in, err)
	}
	return p, nil
}

// DryPlan is the plan that PlanVideo would make; nothing is written.
func (e *Engine) DryPlan(ctx context.Context, in string) (Plan, error) {
	p, err := e.plan(ctx, in, func(VideoProgress) {})
	if err != nil {
		return p, fmt.Errorf("plan %s: %w", in, err)
	}
	return p, nil
}

func (e *Engine) plan(ctx context.Context, in string, tell Tell) (Plan, error) {
	p := Plan{Version: planVersion, Input: in, Path: []byte(in)}
	v, err := media.ProbeVideo(ctx, in)
	if err != nil {
		return p, err
	}
	p.Video = *v
	if p.Index, err = media.IndexVideo(ctx, v, func(done float64) {
		n := int64(done * 1000)
		tell(VideoProgress{Pass: "plan", Done: n, Length: 1000, Frames: n, Total: 1000})
	}); err != nil {
		return p, err
	}
	if err := e.o.Video.bounds(&p); err != nil {
		return p, err
	}
	if p.Index.Truncated != "" && !e.o.Video.Partial {
		return p, fmt.Errorf("%w: %s; video.allow_partial restores what is there", media.ErrDamaged, p.Index.Truncated)
	}
	if p.Encoding, err = media.ChooseEncoding(v, e.o.Video.Encode); err != nil {
		return p, err
	}
	aim := e.o.Video.Segment
	for _, s := range p.Index.Segments(v.Stream().TimeBase, aim/segmentSlack*2, aim*segmentSlack) {
		p.Segments = append(p.Segments, Segment{s[0], s[1]})
	}
	// A visually lossless encoding of what was lossy before took 0.6 to 2.2 times its
	// bytes on the samples; a lossless one takes far more. The disk guard looks again as it goes.
	grow := int64(2)
	if p.Encoding.Encoder == "ffv1" && v.Stream().Codec != "ffv1" {
		grow = 40
	}
	p.WorkBytes = p.Index.Bytes*grow + 1<<20
	p.OutBytes = p.Index.Bytes*grow + p.Index.Other + 1<<20
	return p, nil
}

// bounds refuses a video that is too long.
func (o VideoOptions) bounds(p *Plan) error {
	if n := p.Index.Frames; o.MaxFrames > 0 && n > o.MaxFrames {
		return fmt.Errorf("%w: %d pictures, at most %d (limits.frames)", media.ErrTooLarge, n, o.MaxFrames)
	}
	seconds := p.Video.Stream().TimeBase.Seconds(p.Index.End - p.Index.First)
	if o.MaxDuration > 0 && seconds > o.MaxDuration.Seconds() {
		return fmt.Errorf("%w: it lasts %.0f seconds, at most %.0f (limits.duration)", media.ErrTooLarge, seconds, o.MaxDuration.Seconds())
	}
	return nil
}

// rate is the number of pictures a second, as trackers count time.
func (p *Plan) rate() float64 {
	d := p.Video.Stream().TimeBase.Seconds(p.Index.End - p.Index.First)
	if d <= 0 || p.Index.Frames < 2 {
		return 25
	}
	return min(max(float64(p.Index.Frames)/d, 1), 1000)
}

// settings is the video's fingerprint.
func (e *Engine) settings() string {
	_, video := Fingerprints(e.o, e.session.Model().SHA256)
	return video
}

// Version is that of what the pipeline makes of a file. It is raised when the
// same options and the same model give another result.
const Version = 1

// Fingerprints tells apart all that shapes a result beside the file: one hash
// for photos and one for videos. model is the SHA-256 of the restoring model.
func Fingerprints(o Options, model string) (photo, video string) {
	o.Workers, o.Cores, o.Detect.Models = 0, 0, ""
	o.Video.MaxFrames, o.Video.MaxDuration = 0, 0
	p, v := o, o
	p.Video = VideoOptions{}
	v.MaxPixels, v.CopyNoFace = 0, false
	return fingerprint(p, model), fingerprint(v, model)
}

func fingerprint(o Options, model string) string {
	h := sha256.Sum256(fmt.Appendf(nil, "%d %s %+v", Version, model, o))
	return hex.EncodeToString(h[:16])
}

// The files of a work folder.
const planName = "plan.json"

func analysisPath(work string, segment int) string {
	return filepath.Join(work, fmt.Sprintf("analysis-%05d", segment))
}

func segmentPath(work string, segment int) string {
	return filepath.Join(work, fmt.Sprintf("segment-%05d.nut", segment))
}

func loadPlan(work string) (Plan, error) {
	var p Plan
	data, err := os.ReadFile(filepath.Join(work, planName))
	if err != nil {
		return p, fmt.Errorf("plan: %w", err)
	}
	if err := json.Unmarshal(data, &p); err != nil {
		return p, fmt.Errorf("plan in %s: %w", work, err)
	}
	p.Input = string(p.Path)
	p.Video.Path = p.Input
	if p.Version != planVersion {
		return p, fmt.Errorf("plan in %s: version %d, this one knows %d", work, p.Version, planVersion)
	}
	return p, nil
}

// begin reads the plan and checks that the video, which lies at in, is still the
// planned one and that segment is one of its segments.
func (e *Engine) begin(in, work string, segment int) (Plan, error) {
	p, err := loadPlan(work)
	if err != nil {
		return p, err
	}
	p.Input, p.Video.Path = in, in // the machine that planned it may see it elsewhere
	if segment < 0 || segment >= len(p.Segments) {
		return p, fmt.Errorf("plan in %s: segment %d of %d", work, segment, len(p.Segments))
	}
	if p.Settings != e.settings() {
		return p, fmt.Errorf("plan in %s: %w", work, ErrStale)
	}
	return p, p.unchanged()
}

// ErrStale is a plan that was made for other settings or another model.
var ErrStale = errors.New("the video was planned with other settings")

// ErrChanged is a video that was replaced or changed while it was worked on.
var ErrChanged = errors.New("the file has changed since it was planned")

func (p *Plan) unchanged() error {
	info, err := os.Stat(p.Input)
	if err != nil {
		return err
	}
	if info.Size() != p.Size || info.ModTime().UnixNano() != p.MtimeNS {
		return fmt.Errorf("%s: %w", p.Input, ErrChanged)
	}
	return nil
}

// writeWhole writes a file of a work folder, whole or not at all.
func writeWhole(path string, data []byte) error {
	return media.WriteFile(path, nil, func(w io.Writer) error {
		_, err := w.Write(data)
		return err
	})
}
