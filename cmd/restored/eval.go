package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"image"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"

	"github.com/spf13/cobra"

	"restored/align"
	"restored/config"
	"restored/detect"
	"restored/media"
	"restored/pipeline"
	"restored/restore"
)

func newEval() *cobra.Command {
	var truth, input, video, restored string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "eval --truth DIR --input DIR | --video FILE --restored FILE",
		Short: "Measure the quality of restored faces, or the steadiness of a restored video",
		Long: `Restores the aligned faces of --input and compares them, and what they were, with the
faces of the same names in --truth: PSNR and SSIM (luma), and the distance of dlib's
identity descriptors. ` + "`python -m pltrans.degrade`" + ` makes such folders.

With --video and --restored it compares a restored video with its original: how much the
faces flicker in both, the largest step of a landmark where nothing moves, and the PSNR
outside the faces.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := loadConfig(cmd)
			if err != nil {
				return err
			}
			if video != "" && restored != "" {
				return evalVideo(cmd, cfg, video, restored, asJSON)
			}
			if truth == "" || input == "" {
				return usageErr("name the folders --truth and --input, or the files --video and --restored")
			}
			e, err := openEvaluator(cfg, cmd)
			if err != nil {
				return err
			}
			defer e.close()
			s, err := e.folder(cmd.Context(), truth, input)
			if err != nil {
				return err
			}
			if asJSON {
				return json.NewEncoder(cmd.OutOrStdout()).Encode(s)
			}
			fmt.Fprintf(cmd.OutOrStdout(), "%-22s %8s %8s\n%-22s %8.3f %8.3f\n%-22s %8.4f %8.4f\n%-22s %8.4f %8.4f\n%-22s %8.4f %8.4f\n",
				fmt.Sprintf("%d faces", s.Faces), "input", "output",
				"PSNR, dB", s.Input.PSNR, s.Output.PSNR,
				"SSIM", s.Input.SSIM, s.Output.SSIM,
				fmt.Sprintf("identity (of %d)", s.Compared), s.Input.Identity, s.Output.Identity,
				"median identity", s.Input.MedianIdentity, s.Output.MedianIdentity)
			return nil
		},
	}
	addSettings(cmd)
	cmd.Flags().StringVar(&truth, "truth", "", "`folder` of clear faces")
	cmd.Flags().StringVar(&input, "input", "", "`folder` of degraded faces with the same names")
	cmd.Flags().StringVar(&video, "video", "", "original `file` of a video")
	cmd.Flags().StringVar(&restored, "restored", "", "restored `file` of it")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON object")
	return cmd
}

// evalVideo compares a restored video with its original.
func evalVideo(cmd *cobra.Command, cfg *config.Config, video, restored string, asJSON bool) error {
	n, err := openNative(cfg, newLogger(cmd.ErrOrStderr(), slog.LevelWarn))
	if err != nil {
		return err
	}
	c, err := n.engine.CompareVideos(cmd.Context(), video, restored)
	if err := errors.Join(err, n.close()); err != nil {
		return err
	}
	out := cmd.OutOrStdout()
	if asJSON {
		return json.NewEncoder(out).Encode(c)
	}
	fmt.Fprintf(out, "%d pictures, %d pairs of consecutive faces\n", c.Frames, c.Faces)
	fmt.Fprintf(out, "flicker where the original holds still, of 255: %.3f before, %.3f after, ratio %.2f\n", c.FlickerIn, c.FlickerOut, c.Ratio())
	fmt.Fprintf(out, "largest step of a landmark without motion: %.2f of 512 pixels, of %d steps\n", c.Jump, c.Still)
	fmt.Fprintf(out, "PSNR outside the faces: %.2f dB\n", c.Outside)
	return nil
}

// A quality is a mean over faces. Identity is the distance of descriptors to
// the truth, over the faces where dlib found one in truth, input and output.
type quality struct {
	PSNR     float64 `json:"psnr"`
	SSIM     float64 `json:"ssim"`
	Identity float64 `json:"identity"`
	// The median says more where a few faces are lost altogether.
	MedianIdentity float64 `json:"median_identity"`

	distances []float64
}

func (q *quality) compare(distance float64) {
	q.Identity += distance
	q.distances = append(q.distances, distance)
}

// finish makes means of the sums over so many faces, of which identities were compared.
func (q *quality) finish(faces int) {
	q.PSNR /= float64(faces)
	q.SSIM /= float64(faces)
	if n := len(q.distances); n > 0 {
		q.Identity /= float64(n)
		slices.Sort(q.distances)
		q.MedianIdentity = (q.distances[(n-1)/2] + q.distances[n/2]) / 2
	}
}

type summary struct {
	Faces    int     `json:"faces"`
	Compared int     `json:"identities"`
	Model    string  `json:"model"`
	Input    quality `json:"input"`
	Output   quality `json:"output"`
}

type evaluator struct {
	session    *restore.Session
	recognizer *detect.Recognizer
	steps      int
	stderr     io.Writer // for the progress
}

func openEvaluator(cfg *config.Config, cmd *cobra.Command) (*evaluator, error) {
	session, a, err := openSession(cfg, newLogger(cmd.ErrOrStderr(), slog.LevelWarn))
	if err != nil {
		return nil, err
	}
	if err := media.Startup(1); err != nil {
		return nil, setupErr(err)
	}
	recognizer, err := detect.NewRecognizer(a.models)
	if err != nil {
		return nil, setupErr(err)
	}
	return &evaluator{session, recognizer, int(cfg.Restore.Steps), cmd.ErrOrStderr()}, nil
}

func (e *evaluator) close() {
	// The process ends after this; nothing was written.
	_ = e.recognizer.Close()
	_ = e.session.Close()
	_ = restore.Shutdown()
	media.Shutdown()
}

// folder evaluates every face of the folder input.
func (e *evaluator) folder(ctx context.Context, truth, input string) (summary, error) {
	s := summary{Model: e.session.Model().Name}
	names, err := os.ReadDir(input)
	if err != nil {
		return s, &codedError{exitUsage, err}
	}
	names = slices.DeleteFunc(names, func(entry os.DirEntry) bool { return !media.IsPhotoName(entry.Name()) })
	bar := newProgress(e.stderr, len(names))
	defer bar.close()
	for _, entry := range names {
		if err := ctx.Err(); err != nil {
			return s, err
		}
		if err := e.face(ctx, filepath.Join(truth, entry.Name()), filepath.Join(input, entry.Name()), &s); err != nil {
			return s, err
		}
		bar.step(entry.Name())
	}
	if s.Faces == 0 {
		return s, usageErr("%s has no photos", input)
	}
	s.Input.finish(s.Faces)
	s.Output.finish(s.Faces)
	return s, nil
}

// face adds the figures of one face to the summary.
func (e *evaluator) face(ctx context.Context, truth, input string, s *summary) error {
	want, err := e.load(ctx, truth)
	if err != nil {
		return err
	}
	in, err := e.load(ctx, input)
	if err != nil {
		return err
	}
	size := e.session.Spec().Size
	steps := e.steps
	if steps == pipeline.AutoSteps {
		m, err := align.Degradation(in, size)
		if err != nil {
			return err
		}
		steps = align.StepsFor(m.Octaves)
	}
	out, err := e.session.Restore(ctx, []restore.Face{{Image: in, Steps: steps}})
	if err != nil {
		return err
	}
	s.Faces++
	s.Input.PSNR += psnr(in, want)
	s.Input.SSIM += ssim(in, want, size)
	s.Output.PSNR += psnr(out[0], want)
	s.Output.SSIM += ssim(out[0], want, size)

	var d [3][128]float32
	for i, face := range [][]float32{want, in, out[0]} {
		var ok bool
		if d[i], ok, err = e.recognizer.Descriptor(face, size); err != nil {
			return fmt.Errorf("%s: identity: %w", input, err)
		}
		if !ok {
			return nil
		}
	}
	s.Compared++
	s.Input.compare(detect.Distance(d[0], d[1]))
	s.Output.compare(detect.Distance(d[0], d[2]))
	return nil
}

// load reads a face that is aligned already.
func (e *evaluator) load(ctx context.Context, path string) ([]float32, error) {
	p, err := media.OpenPhoto(ctx, path, media.Options{MaxPixels: 1 << 24})
	if err != nil {
		return nil, err
	}
	size := e.session.Spec().Size
	if p.Image.Bounds() != image.Rect(0, 0, size, size) {
		return nil, fmt.Errorf("%s: %v isn't an aligned face of %d×%d", path, p.Image.Bounds().Size(), size, size)
	}
	return align.Warp(p.Image, align.Similarity{A: 1}, size)
}
