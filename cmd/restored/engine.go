package main

import (
	"errors"
	"log/slog"
	"maps"
	"runtime"
	"slices"

	"restored/config"
	"restored/detect"
	"restored/media"
	"restored/pipeline"
	"restored/restore"
)

// native is what the process holds of native libraries: the restoring session
// and the engine on it.
type native struct {
	session *restore.Session
	engine  *pipeline.Engine
}

// openSession loads ONNX Runtime and the model that the configuration names.
// The error has the exit code of a faulty set-up.
func openSession(cfg *config.Config, log *slog.Logger) (*restore.Session, assets, error) {
	a, err := findAssets(cfg.Paths.Libraries, cfg.Paths.Models)
	if err != nil {
		return nil, a, setupErr(err)
	}
	model, err := restore.FindModel(cfg.Restore.Model, a.models)
	if err != nil {
		return nil, a, setupErr(err)
	}
	if err := restore.Startup(a.onnxruntime); err != nil {
		return nil, a, setupErr(err)
	}
	session, err := restore.Open(model, restore.Options{Provider: cfg.Restore.Provider, Threads: coresEach(cfg)})
	if err != nil {
		return nil, a, setupErr(errors.Join(err, restore.Shutdown()))
	}
	log.Info("model loaded", "model", model.Name, "sha256", model.SHA256[:12], "provider", session.Provider())
	if err := session.Fallback(); err != nil {
		log.Info("no GPU is used", "reason", err)
	}
	return session, a, nil
}

// openNative makes the engine that the configuration asks for.
func openNative(cfg *config.Config, log *slog.Logger) (*native, error) {
	return openNativeFor(cfg, log, func(*pipeline.Options) {})
}

// openNativeFor is openNative with options that the configuration doesn't have.
func openNativeFor(cfg *config.Config, log *slog.Logger, change func(*pipeline.Options)) (*native, error) {
	session, a, err := openSession(cfg, log)
	if err != nil {
		return nil, err
	}
	if err := media.Startup(runtime.NumCPU()); err != nil {
		return nil, setupErr(errors.Join(err, session.Close(), restore.Shutdown()))
	}
	o := pipelineOptions(cfg, a.models)
	change(&o)
	engine, err := pipeline.New(session, o)
	if err != nil {
		media.Shutdown()
		return nil, setupErr(errors.Join(err, session.Close(), restore.Shutdown()))
	}
	return &native{session, engine}, nil
}

func (n *native) close() error {
	err := errors.Join(n.engine.Close(), n.session.Close(), restore.Shutdown())
	media.Shutdown()
	return err
}

// settingsOf tells what the configuration, with a profile, makes of photos and of
// videos, so that what was made with another one is known.
func settingsOf(cfg *config.Config) (func(profile string, video bool) string, error) {
	a, err := findAssets(cfg.Paths.Libraries, cfg.Paths.Models)
	if err != nil {
		return nil, setupErr(err)
	}
	type kind struct {
		profile string
		video   bool
	}
	settings := map[kind]string{}
	for _, profile := range append(slices.Collect(maps.Keys(cfg.Profiles)), "") {
		of := cfg.For(profile)
		model, err := restore.FindModel(of.Restore.Model, a.models)
		if err != nil {
			return nil, setupErr(err)
		}
		photo, video := pipeline.Fingerprints(pipelineOptions(of, a.models), model.SHA256)
		settings[kind{profile, false}], settings[kind{profile, true}] = photo, video
	}
	return func(profile string, video bool) string { return settings[kind{profile, video}] }, nil
}

// openProfile makes the engine for a profile beside that of the configuration
// itself, with whose session it works unless it asks for another model.
func (n *native) openProfile(cfg *config.Config, profile string, change func(*pipeline.Options)) (*native, error) {
	a, err := findAssets(cfg.Paths.Libraries, cfg.Paths.Models)
	if err != nil {
		return nil, setupErr(err)
	}
	of := cfg.For(profile)
	model, err := restore.FindModel(of.Restore.Model, a.models)
	if err != nil {
		return nil, setupErr(err)
	}
	session := n.session
	if model.SHA256 != session.Model().SHA256 || of.Restore.Provider != cfg.Restore.Provider {
		if session, err = restore.Open(model, restore.Options{Provider: of.Restore.Provider, Threads: coresEach(cfg)}); err != nil {
			return nil, setupErr(err)
		}
	}
	o := pipelineOptions(of, a.models)
	change(&o)
	engine, err := pipeline.New(session, o)
	if err != nil {
		if session != n.session {
			err = errors.Join(err, session.Close())
		}
		return nil, setupErr(err)
	}
	return &native{session, engine}, nil
}

// coresEach are the cores of each file that is worked on at the same time.
func coresEach(cfg *config.Config) int { return max(1, runtime.NumCPU()/cfg.WorkerCount()) }

// pipelineOptions translates the configuration.
func pipelineOptions(cfg *config.Config, models string) pipeline.Options {
	return pipeline.Options{
		Workers: cfg.WorkerCount(),
		Cores:   runtime.NumCPU(),
		Detect: detect.Options{
			Models:    models,
			MinFace:   cfg.Detect.MinFace,
			Threshold: cfg.Detect.Threshold,
			MaxPixels: cfg.Detect.MaxPixels,
			Rotations: cfg.Detect.Rotations,
		},
		Steps:      int(cfg.Restore.Steps),
		Blend:      cfg.Restore.Blend,
		SharpBelow: cfg.Restore.SharpBelow,
		Limit:      cfg.Identity.Limit,
		Unverified: cfg.Identity.Unverified == "keep",
		CopyNoFace: cfg.Photo.NoFace == "copy",
		Provenance: cfg.Photo.Provenance,
		MaxPixels:  cfg.Photo.MaxPixels,
		Video: pipeline.VideoOptions{
			Every:   cfg.Detect.Every,
			Segment: cfg.Video.Segment,
			Encode: media.EncodeOptions{
				Encoder: cfg.Video.Encoder, Quality: cfg.Video.Quality, Preset: cfg.Video.Preset,
				Interlaced: cfg.Video.Deinterlace == "off",
			},
			Grain:      cfg.Video.Grain == "match",
			Partial:    cfg.Video.AllowPartial,
			CopyNoFace: cfg.Video.NoFace == "copy",
			MaxFrames:  int64(cfg.Limits.Frames), MaxDuration: cfg.Limits.Duration,
		},
	}
}
