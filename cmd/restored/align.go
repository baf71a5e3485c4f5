package main

import (
	"bufio"
	"context"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"io"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"sync"

	"github.com/spf13/cobra"

	"restored/config"
	"restored/detect"
	"restored/media"
	"restored/pipeline"
)

const (
	cropTemplate = "ffhq_512"
	cropSize     = 512
	landmarkFile = "landmarks.csv"
)

var landmarkHeader = []string{
	"crop", "source", "face", "score", "size", "octaves",
	"right_eye_outer_x", "right_eye_outer_y", "right_eye_inner_x", "right_eye_inner_y",
	"left_eye_outer_x", "left_eye_outer_y", "left_eye_inner_x", "left_eye_inner_y", "nose_x", "nose_y",
	"a", "b", "tx", "ty",
}

func newAlign() *cobra.Command {
	var r aligner
	cmd := &cobra.Command{
		Use:   "align --out DIR PATH",
		Short: "Crop the faces of photos as the network sees them",
		Long: `Finds the faces of a photo, or of all photos in a folder, and writes each as a PNG of
512×512 pixels, aligned on the template ffhq_512 just as restoring aligns it: a network
that is trained on them (pltrans/) sees in training what it will see. The crops keep the
photos' paths and get the face's number: a/b.jpg gives a/b.jpg.1.png. ` + landmarkFile + ` in
--out lists each crop with its source, dlib's five landmarks in the photo's pixels, the
similarity x' = a·x − b·y + tx, y' = b·x + a·y + ty to the crop, and its degradation in
octaves; it is written last, so that a folder with it is complete.

` + exitHelp,
		Example: "  restored align --out faces/ --max-octaves 0.5 album/",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			cfg, err := loadConfig(cmd)
			if err != nil {
				return err
			}
			if r.out == "" {
				return usageErr("name --out, the folder for the crops")
			}
			r.path, r.stdout, r.stderr = args[0], cmd.OutOrStdout(), cmd.ErrOrStderr()
			return r.run(cmd.Context(), cfg)
		},
	}
	addSettings(cmd)
	cmd.Flags().StringVar(&r.out, "out", "", "`folder` for the crops")
	cmd.Flags().Float64Var(&r.most, "max-octaves", 5, "leave out faces that are degraded by more than so many `octaves` (halvings)")
	cmd.Flags().BoolVar(&r.json, "json", false, "print a JSON object with the counts at the end")
	return cmd
}

// An aligner is one `restored align`.
type aligner struct {
	path, out      string
	most           float64
	json           bool
	stdout, stderr io.Writer

	mu     sync.Mutex // guards what follows, and printing
	bar    *progress
	rows   *csv.Writer
	counts struct {
		Photos int `json:"photos"`
		Failed int `json:"failed"`
		Faces  int `json:"faces"`
		Left   int `json:"left_out"` // too degraded, too small, or hardly a face
	}
}

func (r *aligner) run(ctx context.Context, cfg *config.Config) error {
	paths := []string{r.path}
	if err := checkInputs(paths, r.out); err != nil {
		return err
	}
	total, err := countInputs(ctx, paths, r.out)
	if err != nil {
		return err
	}
	if total == 0 {
		return usageErr("no photos in %q", r.path)
	}
	a, err := findAssets(cfg.Paths.Libraries, cfg.Paths.Models)
	if err != nil {
		return setupErr(err)
	}
	if err := media.Startup(1); err != nil {
		return setupErr(err)
	}
	defer media.Shutdown()
	r.bar = newProgress(r.stderr, total)
	err = media.WriteFile(filepath.Join(r.out, landmarkFile), nil, func(w io.Writer) error {
		r.rows = csv.NewWriter(w)
		if err := r.rows.Write(landmarkHeader); err != nil {
			return err
		}
		err := r.all(ctx, pipelineOptions(cfg, a.models))
		r.rows.Flush()
		return errors.Join(err, r.rows.Error())
	})
	r.bar.close()
	switch {
	case ctx.Err() != nil:
		fmt.Fprintf(r.stderr, "restored: stopped after %d of %d photos; the same command starts again\n", r.counts.Photos, total)
		return &codedError{exitInterrupted, errReported}
	case err != nil:
		return err
	case r.json:
		err = json.NewEncoder(r.stdout).Encode(r.counts)
	default:
		_, err = fmt.Fprintf(r.stdout, "%d faces of %d photos in %s, %d left out\n", r.counts.Faces, r.counts.Photos, r.out, r.counts.Left)
	}
	if err == nil && r.counts.Failed > 0 {
		fmt.Fprintf(r.stderr, "restored: %d of %d photos failed\n", r.counts.Failed, total)
		return errReported
	}
	return err
}

// all crops every photo, on as many workers as the configuration says.
func (r *aligner) all(ctx context.Context, o pipeline.Options) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	targets := make(chan target)
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := walkInputs(ctx, []string{r.path}, r.out, targets); err != nil {
			cancel(err)
		}
	})
	for range o.Workers {
		d, err := detect.New(o.Detect)
		if err != nil {
			cancel(setupErr(err))
			break
		}
		wg.Go(func() {
			defer func() { _ = d.Close() }() // it only frees memory
			for t := range targets {
				err := r.photo(ctx, d, t, o.MaxPixels)
				var full *outputError
				if errors.As(err, &full) {
					cancel(err)
					continue
				}
				if ctx.Err() == nil {
					r.tell(t, err)
				}
			}
		})
	}
	wg.Wait()
	return context.Cause(ctx)
}

// An outputError ends the command: what can't be written once can't be written again.
type outputError struct{ error }

func (r *aligner) tell(t target, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.counts.Photos++
	if err != nil {
		r.counts.Failed++
		r.bar.println(fmt.Sprintf("failed: %v", err))
	}
	r.bar.step(filepath.Base(t.in))
}

// photo writes the crops of one photo.
func (r *aligner) photo(ctx context.Context, d *detect.Detector, t target, maxPixels int) error {
	info, err := os.Stat(t.in)
	if err != nil {
		return err
	}
	p, err := media.OpenPhoto(ctx, t.in, media.Options{MaxPixels: int64(maxPixels)})
	if err != nil {
		return err
	}
	faces, err := d.Detect(ctx, p.Image)
	if err != nil {
		return fmt.Errorf("detect faces in %s: %w", t.in, err)
	}
	for i, f := range faces {
		c, fits, err := pipeline.Align(p.Image, f, cropTemplate, cropSize)
		if err != nil {
			return fmt.Errorf("%s: face at %v: align: %w", t.in, f.Box, err)
		}
		if !fits || c.Octaves > r.most {
			r.mu.Lock()
			r.counts.Left++
			r.mu.Unlock()
			continue
		}
		path := fmt.Sprintf("%s.%d.png", t.out, i+1)
		err = media.WriteFile(path, info, func(w io.Writer) error { return encodeCrop(w, c.Pixels, cropSize) })
		if err != nil {
			return &outputError{err}
		}
		if err := r.row(path, t.in, i+1, f, c); err != nil {
			return &outputError{err}
		}
	}
	return nil
}

// row adds a crop to the table.
func (r *aligner) row(path, source string, number int, f detect.Face, c pipeline.Crop) error {
	rel, err := filepath.Rel(r.out, path)
	if err != nil {
		return err
	}
	text := func(v float64) string { return strconv.FormatFloat(v, 'g', 8, 64) }
	row := []string{rel, source, strconv.Itoa(number), text(f.Score), strconv.Itoa(min(f.Box.Dx(), f.Box.Dy())), text(c.Octaves)}
	for _, p := range c.Landmarks {
		row = append(row, text(p.X), text(p.Y))
	}
	m := c.Transform
	row = append(row, text(m.A), text(m.B), text(m.TX), text(m.TY))
	r.mu.Lock()
	defer r.mu.Unlock()
	r.counts.Faces++
	return r.rows.Write(row)
}

// planarImage makes an 8-bit image of a planar RGB face of side×side in [0, 1].
func planarImage(planar []float32, side int) *image.NRGBA {
	img := image.NewNRGBA(image.Rect(0, 0, side, side))
	n := side * side
	at := func(i int) uint8 { return uint8(math.Round(float64(min(max(planar[i], 0), 1)) * 255)) }
	for i := range n {
		img.SetNRGBA(i%side, i/side, color.NRGBA{at(i), at(n + i), at(2*n + i), 255})
	}
	return img
}

// encodeCrop writes a planar RGB face of side×side in [0, 1] as an 8-bit PNG.
func encodeCrop(w io.Writer, planar []float32, side int) error {
	buffered := bufio.NewWriter(w)
	if err := png.Encode(buffered, planarImage(planar, side)); err != nil {
		return err
	}
	return buffered.Flush()
}
