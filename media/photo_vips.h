#ifndef RESTORED_PHOTO_VIPS_H
#define RESTORED_PHOTO_VIPS_H

#include <stddef.h>

/* File kinds; the order is that of the Go constants in photo_vips.go. */
enum { MP_JPEG, MP_PNG, MP_TIFF, MP_WEBP, MP_HEIF };

/* What a header says. All fields are as libvips would deliver the pixels. */
typedef struct {
	int width, height, bands, pages;
	int depth;	  /* 8, 16, or 0 for any other sample type */
	int interp;	  /* VipsInterpretation */
} mp_header;

/* Where mp_decode puts pixel (x, y) of the file: dst + origin + x*sx + y*sy. */
typedef struct {
	ptrdiff_t origin, sx, sy; /* bytes */
	int bands;		  /* 1 or 4 in dst */
	int cmyk;		  /* convert to sRGB by the embedded or a stock profile */
	int strict;		  /* fail at decoder warnings too */
} mp_layout;

/* How mp_encode writes. */
typedef struct {
	int kind;
	int width, height;    /* of the upright pixels in memory */
	int bands_in, bands;  /* in memory, in the file */
	int depth;	      /* 8 or 16; 16 is big-endian in memory */
	int orientation;      /* EXIF 1..8: the upright pixels are turned back by it */
	int quality;	      /* JPEG, lossy WebP, JPEG in TIFF */
	int progressive;      /* JPEG */
	int lossless;	      /* WebP */
	int compression;      /* VipsForeignTiffCompression */
	int predictor;	      /* TIFF 1 or 2 */
	int tile_w, tile_h;   /* TIFF; 0: strips */
	int bigtiff, premultiply;
} mp_format;

int mp_init(int threads);
void mp_shutdown(void);
size_t mp_tracked(void);

/* All return 0, or -1 with the reason in libvips' error buffer. The cancel
 * flag is polled while pixels flow; non-zero stops the work with an error. */
int mp_read_header(int kind, const void *buf, size_t len, mp_header *out);
int mp_decode(int kind, const void *buf, size_t len, void *dst, const mp_layout *l, volatile int *cancel);
int mp_encode(const void *pix, const mp_format *f, void **out, size_t *len, volatile int *cancel);
/* Encodes an upright, opaque sRGB JPEG that fits side×side; free *out with g_free. */
int mp_preview(int kind, const void *buf, size_t len, int side, int quality, void **out, size_t *outlen, volatile int *cancel);
/* Copies the metadata blob `name` to *out (free with g_free); absent: *out = NULL. */
int mp_read_blob(int kind, const void *buf, size_t len, const char *name, void **out, size_t *outlen);
/* The bytes of libvips' own sRGB profile. */
int mp_srgb(void **out, size_t *len);

#endif
