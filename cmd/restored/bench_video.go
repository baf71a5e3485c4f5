package main

import (
	"context"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"restored/pipeline"
	"restored/restore"
)

// A videoBenchmark is the median cost of one video, beside FFmpeg's command line
// and the bare model.
type videoBenchmark struct {
	Video  string               `json:"video"`
	Frames int64                `json:"frames"`
	Faces  int64                `json:"faces_restored"` // pictures times faces
	Passes [2]float64           `json:"passes_s"`       // seconds of both passes
	Join   float64              `json:"join_s"`
	FFmpeg float64              `json:"ffmpeg_s"` // decoding and encoding with the same settings
	Bare   float64              `json:"bare_s"`   // the ONNX session alone, for as many faces
	Stages pipeline.VideoMillis `json:"ms"`       // of the last run
	Steps  int                  `json:"steps"`    // of the diffusion, of the track with most pictures
}

// total is all seconds of a run.
func (b videoBenchmark) total() float64 { return b.Passes[0] + b.Passes[1] + b.Join }

// benchVideo alternates whole runs, FFmpeg's command line and bare model runs.
func benchVideo(ctx context.Context, n *native, video string, repeat int) (videoBenchmark, error) {
	b := videoBenchmark{Video: video}
	var passes [2][]float64
	var joins, reference, bare []float64
	for range repeat {
		dir, err := os.MkdirTemp("", "restored-bench-")
		if err != nil {
			return b, err
		}
		run, plan, err := benchRun(ctx, n, video, dir)
		var took float64
		if err == nil {
			took, err = benchFFmpeg(ctx, plan, filepath.Join(dir, "reference.mkv"))
		}
		if err := os.RemoveAll(dir); err != nil {
			return b, err
		}
		if err != nil {
			return b, err
		}
		model, err := benchModel(ctx, n, run)
		if err != nil {
			return b, err
		}
		passes[0], passes[1] = append(passes[0], run.Passes[0]), append(passes[1], run.Passes[1])
		joins, reference, bare = append(joins, run.Join), append(reference, took), append(bare, model)
		b.Frames, b.Faces, b.Stages, b.Steps = run.Frames, run.Faces, run.Stages, run.Steps
	}
	b.Passes = [2]float64{median(passes[0]), median(passes[1])}
	b.Join, b.FFmpeg, b.Bare = median(joins), median(reference), median(bare)
	return b, nil
}

// benchRun is one whole run; its passes are timed apart.
func benchRun(ctx context.Context, n *native, video, dir string) (b videoBenchmark, p pipeline.Plan, err error) {
	work := filepath.Join(dir, "work")
	quiet := func(pipeline.VideoProgress) {}
	if p, err = n.engine.PlanVideo(ctx, video, work, quiet); err != nil {
		return b, p, err
	}
	steps := []func(i int) error{
		func(i int) error { return n.engine.AnalyseSegment(ctx, video, work, i, false, quiet) },
		func(i int) error {
			var last int64
			err := n.engine.RenderSegment(ctx, video, work, i, false, func(p pipeline.VideoProgress) { last = p.Faces })
			b.Faces += last
			return err
		},
	}
	for k, step := range steps {
		start := time.Now()
		for i := range p.Segments {
			if err := step(i); err != nil {
				return b, p, err
			}
		}
		b.Passes[k] = time.Since(start).Seconds()
	}
	start := time.Now()
	ours := func(context.Context, string) (bool, error) { return true, nil } // the folder is ours
	r, err := n.engine.JoinVideo(ctx, video, filepath.Join(dir, "out"+filepath.Ext(video)), work, ours, quiet)
	if err != nil {
		return b, p, err
	}
	b.Join, b.Frames, b.Stages = time.Since(start).Seconds(), r.Video.Frames, r.Video.Millis
	most := int64(0)
	for _, t := range r.Video.Tracks {
		if t.Decision == pipeline.FaceRestored && t.Frames > most {
			most, b.Steps = t.Frames, t.Steps
		}
	}
	return b, p, nil
}

// benchFFmpeg decodes and encodes the video with the plan's settings by
// FFmpeg's command line.
func benchFFmpeg(ctx context.Context, p pipeline.Plan, out string) (float64, error) {
	args := []string{"-v", "error", "-nostdin", "-y", "-i", p.Input, "-map", fmt.Sprintf("0:%d", p.Video.Stream().Index)}
	if p.Encoding.Deinterlaced {
		args = append(args, "-vf", "bwdif=mode=send_frame")
	}
	args = append(args, "-fps_mode", "passthrough", "-c:v", p.Encoding.Encoder, "-pix_fmt", p.Encoding.PixelFormat,
		"-threads:v", strconv.Itoa(p.Encoding.Threads), "-g", strconv.Itoa(p.Encoding.Keyint))
	for _, k := range slices.Sorted(maps.Keys(p.Encoding.Options)) {
		args = append(args, "-"+k, p.Encoding.Options[k])
	}
	start := time.Now()
	text, err := exec.CommandContext(ctx, "ffmpeg", append(args, out)...).CombinedOutput()
	if err != nil {
		return 0, fmt.Errorf("ffmpeg's command line: %w: %s", err, text)
	}
	return time.Since(start).Seconds(), nil
}

// benchModel restores as many grey faces as the run did, at most fifty, and
// scales the time up.
func benchModel(ctx context.Context, n *native, b videoBenchmark) (float64, error) {
	faces := min(b.Faces, 50)
	if faces == 0 {
		return 0, nil
	}
	size := n.session.Spec().Size
	grey := make([]float32, 3*size*size)
	for i := range grey {
		grey[i] = 0.5
	}
	start := time.Now()
	for range faces {
		if _, err := n.session.Restore(ctx, []restore.Face{{Image: grey, Steps: b.Steps}}); err != nil {
			return 0, err
		}
	}
	return time.Since(start).Seconds() * float64(b.Faces) / float64(faces), nil
}

func (b videoBenchmark) print(w io.Writer) {
	fps := func(s float64) float64 { return float64(b.Frames) / s }
	fmt.Fprintf(w, "%s: %d pictures, %d faces restored in them\n", b.Video, b.Frames, b.Faces)
	fmt.Fprintf(w, "  pass 1, analyse        %8.1f pictures/s\n", fps(b.Passes[0]))
	fmt.Fprintf(w, "  pass 2, render         %8.1f pictures/s\n", fps(b.Passes[1]))
	fmt.Fprintf(w, "  both and the join      %8.1f pictures/s\n", fps(b.total()))
	fmt.Fprintf(w, "  ffmpeg, same settings  %8.1f pictures/s\n", fps(b.FFmpeg))
	fmt.Fprintf(w, "  pass 2 over ffmpeg     %8.2f\n", b.FFmpeg/b.Passes[1])
	fmt.Fprintf(w, "  all over ffmpeg        %8.2f\n", b.FFmpeg/b.total())
	if b.Bare == 0 {
		return
	}
	n := float64(b.Frames)
	s := b.Stages
	fmt.Fprintf(w, "  ms a picture: decode %.1f, track %.1f, close looks %.1f, align %.1f, model %.1f, paste %.1f, encode %.1f, join %.1f\n",
		s.Decode/n, s.Track/n, s.Sample/n, s.Align/n, s.Model/n, s.Paste/n, s.Encode/n, s.Join/n)
	fmt.Fprintf(w, "  bare model             %8.1f s for as many faces\n", b.Bare)
	fmt.Fprintf(w, "  all over the model     %8.2f\n", b.total()/b.Bare)
}
