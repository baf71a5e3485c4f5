package pipeline

import (
	"context"
	"fmt"
	"image"
	"slices"
	"time"

	"restored/align"
	"restored/detect"
	"restored/media"
	"restored/paste"
	"restored/restore"
)

// maxPatches bounds the faces that are held at a time, some 6 MB each. Those of
// one group share the pixels where they overlap; a later group starts from
// what the one before has made of them.
const maxPatches = 32

// A Claim is asked for a path just before it is written. It says whether what
// lies there may be replaced; its error ends the work on the file.
type Claim func(ctx context.Context, out string) (overwrite bool, err error)

// Photo restores the faces of the photo in and writes the result to out, in
// the same format and depth. The file appears complete or not at all, and
// replaces another only if claim allows it. The Report's Output is the file
// really written: a HEIC photo comes out with another extension.
//
// An error names the file, the stage and the reason; the Report then holds
// what is known so far.
func (e *Engine) Photo(ctx context.Context, in, out string, claim Claim) (Report, error) {
	start := time.Now()
	r := Report{
		Input: in, Faces: []Face{},
		Model: e.session.Model().Name, ModelHash: e.session.Model().SHA256, Provider: e.session.Provider(),
	}
	w, err := e.acquire(ctx)
	if err != nil {
		return r, err
	}
	defer func() { e.pool <- w }()
	err = e.photo(ctx, w, &r, in, out, claim)
	r.Millis.Total = millis(start)
	return r, err
}

func (e *Engine) photo(ctx context.Context, w *worker, r *Report, in, out string, claim Claim) error {
	start := time.Now()
	p, err := media.OpenPhoto(ctx, in, e.o.photoOptions())
	if err != nil {
		return err
	}
	r.Millis.Decode = millis(start)
	r.Format, r.Depth, r.Notes = p.Format, p.Depth, p.Notes
	r.Width, r.Height = p.Image.Bounds().Dx(), p.Image.Bounds().Dy()

	faces, err := w.find(ctx, p.Image, &r.Millis)
	if err != nil {
		return fmt.Errorf("detect faces in %s: %w", in, err)
	}
	restored := 0
	for group := range slices.Chunk(faces, maxPatches) {
		n, err := e.group(ctx, w, p.Image, group, r)
		if err != nil {
			return fmt.Errorf("%s: %w", in, err)
		}
		restored += n
	}
	if restored == 0 {
		return e.unchanged(ctx, r, in, out, claim)
	}
	out = p.OutputPath(out)
	overwrite, err := claim(ctx, out)
	if err != nil {
		return fmt.Errorf("%s: output %s: %w", in, out, err)
	}
	start = time.Now()
	info, err := p.Save(ctx, out, p.Image, media.SaveOptions{Provenance: e.o.Provenance, Overwrite: overwrite})
	if err != nil {
		return err
	}
	r.Millis.Encode = millis(start)
	r.Status, r.Output = Restored, info.Path
	r.Notes = info.Notes
	return nil
}

// group restores some faces and pastes them into the image. It returns how
// many were restored.
func (e *Engine) group(ctx context.Context, w *worker, img image.Image, faces []detect.Face, r *Report) (int, error) {
	var patches []paste.Face
	var restored []int // indices in r.Faces of the patches
	for _, f := range faces {
		patch, report, err := e.face(ctx, w, img, f, &r.Millis)
		if err != nil {
			return 0, fmt.Errorf("face at %v: %w", f.Box, err)
		}
		r.Faces = append(r.Faces, report)
		if report.Decision == FaceRestored {
			patches = append(patches, patch)
			restored = append(restored, len(r.Faces)-1)
		}
	}
	start := time.Now()
	changed, err := paste.Paste(img, patches)
	if err != nil {
		return 0, fmt.Errorf("paste: %w", err)
	}
	r.Millis.Paste += millis(start)
	for i, k := range restored {
		rect := rectOf(changed[i])
		r.Faces[k].Changed = &rect
	}
	return len(restored), nil
}

// unchanged ends a file with nothing to restore: its output, if one is wanted,
// is a byte-identical copy.
func (e *Engine) unchanged(ctx context.Context, r *Report, in, out string, claim Claim) error {
	if !e.o.CopyNoFace {
		r.Status = Skipped
		return nil
	}
	overwrite, err := claim(ctx, out)
	if err != nil {
		return fmt.Errorf("%s: output %s: %w", in, out, err)
	}
	start := time.Now()
	if err := media.CopyFile(ctx, in, out, overwrite); err != nil {
		return err
	}
	r.Millis.Encode = millis(start)
	r.Status, r.Output = Copied, out
	return nil
}

// face takes one face through align, the guards and the model.
func (e *Engine) face(ctx context.Context, w *worker, img image.Image, f detect.Face, ms *Millis) (paste.Face, Face, error) {
	r := Face{Box: rectOf(f.Box), Size: min(f.Box.Dx(), f.Box.Dy()), Score: f.Score, Angle: f.Angle}
	switch {
	case r.Size < e.o.Detect.MinFace:
		r.Decision = FaceSmall
		return paste.Face{}, r, nil
	case r.Score < e.o.Detect.Threshold:
		r.Decision = FaceUnsure
		return paste.Face{}, r, nil
	}
	size := e.session.Spec().Size

	start := time.Now()
	c, fits, err := Align(img, f, e.session.Spec().Template, size)
	if err != nil {
		return paste.Face{}, r, fmt.Errorf("align: %w", err)
	}
	if !fits {
		r.Decision = FaceLandmarks
		return paste.Face{}, r, nil
	}
	r.Degradation = c.Octaves
	ms.Align += millis(start)

	if r.Degradation < e.o.SharpBelow {
		r.Decision = FaceSharp
		return paste.Face{}, r, nil
	}
	r.Steps = e.steps(r.Degradation)
	start = time.Now()
	restored, err := e.session.Restore(ctx, []restore.Face{{Image: c.Pixels, Steps: r.Steps}})
	if err != nil {
		return paste.Face{}, r, err
	}
	ms.Model += millis(start)

	start = time.Now()
	own, known, err := w.recognizer.Descriptor(c.Pixels, size)
	if err != nil {
		return paste.Face{}, r, fmt.Errorf("identity: %w", err)
	}
	err = e.checkIdentity(w, own, known, c.Pixels, restored[0], size, &r)
	ms.Identity += millis(start)
	return paste.Face{
		Before: c.Pixels, After: restored[0], Size: size, ToCrop: c.Transform.Affine(), Blend: r.Blend,
		Landmarks: maskLandmarks(c.Transform, c.Landmarks),
	}, r, err
}

// maskLandmarks places dlib's points (outer and inner corner of the eye at the
// image's right, then of the other one, base of the nose) in the crop.
func maskLandmarks(m align.Similarity, p []align.Point) *paste.Landmarks {
	middle := func(a, b align.Point) [2]float64 {
		c := m.Apply(align.Point{X: (a.X + b.X) / 2, Y: (a.Y + b.Y) / 2})
		return [2]float64{c.X, c.Y}
	}
	return &paste.Landmarks{RightEye: middle(p[0], p[1]), LeftEye: middle(p[2], p[3]), Nose: middle(p[4], p[4])}
}

// checkIdentity sets the blend and the decision: a face whose restoration is
// further from it than the limit is blended half, then left as it was. own is
// its descriptor, if that is known.
func (e *Engine) checkIdentity(w *worker, own [128]float32, known bool, before, after []float32, size int, r *Face) (err error) {
	mixed := after
	for _, r.Blend = range []float64{e.o.Blend, e.o.Blend / 2} {
		if r.Blend < 1 {
			mixed = mix(before, after, float32(r.Blend))
		}
		var d [128]float32
		found := false
		if known {
			if d, found, err = w.recognizer.Descriptor(mixed, size); err != nil {
				return fmt.Errorf("identity: %w", err)
			}
		}
		if !found {
			break
		}
		distance := detect.Distance(own, d)
		if r.IdentityFull == nil {
			r.IdentityFull = &distance
		}
		r.Identity = &distance
		if distance <= e.o.Limit {
			r.Decision = FaceRestored
			return nil
		}
	}
	switch {
	case r.Identity != nil:
		r.Decision, r.Blend = FaceIdentity, 0
	case e.o.Unverified:
		r.Decision, r.Blend = FaceRestored, e.o.Blend
	default:
		r.Decision, r.Blend = FaceUnverified, 0
	}
	return nil
}

// mix blends two faces: before + blend · (after − before).
func mix(before, after []float32, blend float32) []float32 {
	out := make([]float32, len(before))
	for i, b := range before {
		out[i] = b + blend*(after[i]-b)
	}
	return out
}

// find detects the faces of a photo and their landmarks.
func (w *worker) find(ctx context.Context, img image.Image, ms *Millis) ([]detect.Face, error) {
	start := time.Now()
	faces, err := w.detector.Detect(ctx, img)
	ms.Landmarks = float64(w.detector.LandmarkTime().Microseconds()) / 1000
	ms.Detect = millis(start) - ms.Landmarks
	return faces, err
}

func millis(since time.Time) float64 {
	return float64(time.Since(since).Microseconds()) / 1000
}
