package media

import (
	"context"
	"errors"
	"fmt"
	"image"
	"io"
	"path/filepath"
	"slices"
	"strings"
)

// SaveOptions of Photo.Save.
type SaveOptions struct {
	// Provenance marks the photo as partly made by a model (DigitalSource).
	Provenance bool
	// Overwrite replaces an existing file, though never the original itself.
	Overwrite bool
}

// SaveInfo is what Save wrote.
type SaveInfo struct {
	Path    string // the real path: OutputPath of the one asked for
	Format  string // "jpeg", "png", "tiff", "webp" or "bmp"
	Bytes   int64
	Quality int      // of JPEG and lossy WebP; 0 for lossless files
	Notes   []string // those of opening and of saving
}

// OutputPath is where Save writes when asked for path: path itself, or, for
// HEIC and AVIF, path with ".jpg" or ".png" behind it. The extension is added,
// not replaced: cameras put IMG_1.HEIC and IMG_1.JPG side by side.
func (p *Photo) OutputPath(path string) string {
	if p.Format != "heic" && p.Format != "avif" {
		return path
	}
	want := ".jpg"
	if p.outFormat() == "png" {
		want = ".png"
	}
	switch strings.ToLower(filepath.Ext(path)) {
	case want:
		return path
	case ".jpeg":
		if want == ".jpg" {
			return path
		}
	}
	return path + want
}

func (p *Photo) outFormat() string {
	switch p.src.carrier.(type) {
	case *jpegFile:
		return "jpeg"
	case *pngFile:
		return "png"
	}
	return p.Format
}

// Save writes img, the photo's upright pixels after editing, as a file like
// the source: same format, depth, stored size and orientation tag, with all
// metadata that doesn't describe the old pixels; and with the source's
// mode and modification time. img must have the type and size of p.Image. The
// source isn't read again. The file appears only complete; an existing one
// gives ErrExists unless o.Overwrite. Missing folders are made.
func (p *Photo) Save(ctx context.Context, path string, img image.Image, o SaveOptions) (SaveInfo, error) {
	info := SaveInfo{Path: p.OutputPath(path), Format: p.Format, Notes: slices.Clone(p.Notes)}
	fail := func(err error) (SaveInfo, error) {
		return SaveInfo{}, fmt.Errorf("save %s: %w", info.Path, err)
	}
	if err := errors.Join(ctx.Err(), running()); err != nil {
		return fail(err)
	}
	if err := free(info.Path, p.stat, o.Overwrite); err != nil {
		return fail(err)
	}
	px, err := p.pixels(img)
	if err != nil {
		return fail(err)
	}
	put := func(fill func(io.Writer) error) (err error) {
		if err := ctx.Err(); err != nil {
			return err
		}
		info.Bytes, err = writeAtomic(info.Path, p.stat, o.Overwrite, fill)
		return err
	}
	if p.src.bmp != nil {
		if o.Provenance {
			info.Notes = append(info.Notes, "BMP can't carry the provenance tag")
		}
		if err := put(func(w io.Writer) error { return p.src.bmp.write(w, px.pix) }); err != nil {
			return fail(err)
		}
		return info, nil
	}
	info.Format = p.outFormat()
	c := p.src.carrier
	x, note, err := p.patch(o, info.Format)
	if err != nil {
		return fail(err)
	}
	if note != "" {
		info.Notes = append(info.Notes, note)
	}
	e := c.encoding()
	e.bands, e.orientation = p.Bands, c.orientation()
	if e.kind == kindJPEG || e.kind == kindWebP && !e.lossless || e.kind == kindTIFF && e.compression == vipsJPEG {
		info.Quality = e.quality
	}
	err = encode(ctx, px, e, func(encoded []byte) error {
		return put(func(w io.Writer) error { return c.write(w, encoded, x) })
	})
	if err != nil {
		return fail(err)
	}
	return info, nil
}

// patch is what changes in the metadata, and a note on what couldn't.
func (p *Photo) patch(o SaveOptions, format string) (x patch, note string, err error) {
	if p.src.cmyk {
		if x.icc, err = srgbProfile(); err != nil {
			return x, "", err
		}
	}
	if !o.Provenance {
		return x, "", nil
	}
	limit := 0
	if format == "jpeg" {
		limit = maxXMPseg
	}
	var why error
	if x.xmp, why = addProvenance(p.src.carrier.xmp(), limit); why != nil {
		note = "no provenance tag: " + why.Error()
	}
	return x, note, nil
}

// pixels returns an edited image's bytes in rows without gaps.
func (p *Photo) pixels(img image.Image) (pixels, error) {
	var pix []byte
	var stride int
	px := pixels{w: p.Width, h: p.Height, bands: 4, depth8: p.Depth / 8}
	same := false
	switch m := img.(type) {
	case *image.Gray:
		_, same = p.Image.(*image.Gray)
		pix, stride, px.bands = m.Pix, m.Stride, 1
	case *image.Gray16:
		_, same = p.Image.(*image.Gray16)
		pix, stride, px.bands = m.Pix, m.Stride, 1
	case *image.NRGBA:
		_, same = p.Image.(*image.NRGBA)
		pix, stride = m.Pix, m.Stride
	case *image.NRGBA64:
		_, same = p.Image.(*image.NRGBA64)
		pix, stride = m.Pix, m.Stride
	}
	if !same || img.Bounds().Dx() != p.Width || img.Bounds().Dy() != p.Height {
		return px, fmt.Errorf("the edited image is %T %v, the photo %T %v", img, img.Bounds(), p.Image, p.Image.Bounds())
	}
	row := px.w * px.bands * px.depth8
	px.pix = pix[:min(len(pix), row*px.h)]
	if stride != row {
		px.pix = make([]byte, row*px.h)
		for y := range px.h {
			copy(px.pix[y*row:][:row], pix[y*stride:])
		}
	}
	if p.Bands == 2 {
		px.pix, px.bands = grayAlpha(px.pix, px.depth8), 2
	}
	return px, nil
}

// grayAlpha makes gray+alpha of RGBA by ITU-R BT.601's weights, which leave
// R = G = B as it is. Samples have size bytes, big-endian.
func grayAlpha(rgba []byte, size int) []byte {
	out := make([]byte, len(rgba)/2)
	if size == 1 {
		for i, o := 0, 0; i < len(rgba); i, o = i+4, o+2 {
			out[o] = byte((299*int(rgba[i]) + 587*int(rgba[i+1]) + 114*int(rgba[i+2]) + 500) / 1000)
			out[o+1] = rgba[i+3]
		}
		return out
	}
	at := func(i int) int { return int(rgba[i])<<8 | int(rgba[i+1]) }
	for i, o := 0, 0; i < len(rgba); i, o = i+8, o+4 {
		v := (299*at(i) + 587*at(i+2) + 114*at(i+4) + 500) / 1000
		out[o], out[o+1], out[o+2], out[o+3] = byte(v>>8), byte(v), rgba[i+6], rgba[i+7]
	}
	return out
}
