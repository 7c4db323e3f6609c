package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/google/go-containerregistry/pkg/v1/types"
)

// What all registries have.
const (
	repository = "bench/data"
	tag        = "v1"
	small      = 1 << 10 // bytes
	middle     = 1 << 20
)

// makeSeed makes the folder that all begin with: one image, whose layers are
// the blobs that are pulled.
func (l *lab) makeSeed(ctx context.Context) (err error) {
	l.seed = filepath.Join(l.dir, "seed")
	if err := os.Mkdir(l.seed, 0o700); err != nil {
		return err
	}
	s := &server{contestant: allContestants[0], lab: l, dir: l.dir, data: l.seed}
	if s.address, err = freeAddress(ctx); err != nil {
		return err
	}
	if s.command, err = s.contestant.front(ctx, s); err != nil {
		return err
	}
	if _, err := s.startFront(ctx); err != nil {
		return errors.Join(err, s.stop())
	}
	defer func() { err = errors.Join(err, s.stop()) }()

	p := newPusher(s)
	defer p.close()
	l.blobs = make(map[int64]content)
	config := l.contents.make(512)
	blobs := []content{config}
	layers := make([]any, 0, 3)
	for _, size := range []int64{small, middle, l.large} {
		c := l.contents.make(size)
		l.blobs[size] = c
		blobs = append(blobs, c)
		layers = append(layers, descriptor(types.DockerLayer, c))
	}
	for _, c := range blobs {
		if err := p.push(ctx, repository, c, 0); err != nil {
			return fmt.Errorf("pushing a blob of %d bytes: %w", c.size, err)
		}
	}
	manifest, err := json.Marshal(map[string]any{
		"schemaVersion": 2,
		"mediaType":     types.DockerManifestSchema2,
		"config":        descriptor(types.DockerConfigJSON, config),
		"layers":        layers,
	})
	if err != nil {
		return err
	}
	sum := sha256.Sum256(manifest)
	l.manifest = "sha256:" + hex.EncodeToString(sum[:])
	return p.putManifest(ctx, repository, tag, manifest, string(types.DockerManifestSchema2))
}

// descriptor returns the JSON of a blob in a manifest.
func descriptor(mediaType types.MediaType, c content) map[string]any {
	return map[string]any{"mediaType": mediaType, "size": c.size, "digest": c.digest}
}
