package media

import "fmt"

// parseHEIF makes a JPEG's or PNG's carrier of a HEIC or AVIF, which is read
// but not written. libheif has turned the pixels upright already, whatever
// EXIF says.
func parseHEIF(b []byte, h header, i *Info) (carrier, error) {
	var data [3][]byte
	for n, name := range []string{"exif-data", "xmp-data", "icc-profile-data"} {
		var err error
		if data[n], err = blob(kindHEIF, b, name); err != nil {
			return nil, fmt.Errorf("%w: %s: %w", ErrDamaged, name, err)
		}
	}
	exif, xmp, icc := data[0], data[1], data[2]
	if len(exif) > len(sigEXIF) && string(exif[:len(sigEXIF)]) == sigEXIF {
		exif = exif[len(sigEXIF):]
	}
	if exif != nil {
		exif = dropThumbnail(exif)
		setUpright(exif)
	}
	if h.pages > 1 {
		i.note(fmt.Sprintf("only the main one of %d pictures is kept", h.pages))
	}
	if i.HasAlpha || i.Depth > 8 {
		i.note("HEIC/AVIF isn't written: the output is a PNG")
		p := &pngFile{orient: 1, oldXMP: xmp}
		if icc != nil {
			p.before = append(p.before, pngICCChunk(icc))
		}
		if exif != nil {
			p.before = append(p.before, pngChunk("eXIf", exif))
		}
		if xmp != nil {
			p.before = append(p.before, pngXMPChunk(xmp))
		}
		return p, nil
	}
	i.note("HEIC/AVIF isn't written: the output is a JPEG")
	j := &jpegFile{orient: 1, quality: heifJPEGQuality, oldXMP: xmp}
	if exif != nil && len(sigEXIF)+len(exif) <= maxJPEG {
		j.segs = append(j.segs, segment{0xe1, append([]byte(sigEXIF), exif...)})
	} else if exif != nil {
		i.note("EXIF is too long for a JPEG: dropped")
	}
	if len(xmp) > maxXMPseg {
		i.note("XMP is too long for a JPEG: dropped")
		j.oldXMP = nil
	} else if xmp != nil {
		j.segs = append(j.segs, segment{0xe1, append([]byte(sigXMP), xmp...)})
	}
	j.segs = append(j.segs, iccSegments(icc)...)
	return j, nil
}

// heifJPEGQuality is what a JPEG made of a HEIC or AVIF gets: high enough that
// the change of format costs nothing to see.
const heifJPEGQuality = 95
