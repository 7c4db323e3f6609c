package doctor

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"syscall"

	"github.com/caddy-nas/caddy-nas-registry/registryproxy/docker"
)

func (p *patient) hasDocker() bool { return p.setup.docker != nil }

// upstreams are the config's settings for finding the container.
func (p *patient) upstreams() (*docker.Upstreams, error) {
	u := new(docker.Upstreams)
	return u, decode(p.setup.docker, u)
}

// lookDocker asks Docker's API for its version, and whether it lists containers.
func lookDocker(ctx context.Context, p *patient) Finding {
	u, err := p.upstreams()
	if err != nil {
		return wrong(adviseDocker(err), err.Error())
	}
	version, err := u.Ask(ctx)
	if err == nil {
		_, err = u.Find(ctx)
	}
	switch {
	case errors.Is(err, context.Canceled):
		return unknown("Start the doctor again.", "it was interrupted")
	case err != nil:
		return wrong(adviseDocker(err), err.Error())
	}
	what := "Docker"
	if version.Engine != "" {
		what += " " + version.Engine
	}
	if version.API != "" {
		what += ", API " + version.API
	}
	return ok(what + ", at " + version.Host)
}

// adviseDocker says what to do about an error of Ask or Find.
func adviseDocker(err error) string {
	var failure *docker.Failure
	if !errors.As(err, &failure) {
		return "Correct the block docker of registry_proxy in the config."
	}
	path, unix := strings.CutPrefix(failure.Host, "unix://")
	switch {
	case failure.Refused:
		return "Let what stands before Docker's socket permit GET of /containers/json and /containers/<id>/json."
	case unix && errors.Is(err, fs.ErrNotExist):
		return "Start Docker, and see that compose.yaml mounts " + path + " into Caddy's container."
	case unix && errors.Is(err, fs.ErrPermission):
		return "Set DOCKER_GID in .env to what `stat -c %g " + path + "` prints on the host (or leave CADDY_USER at root), " +
			"then: docker compose up -d."
	case unix && errors.Is(err, syscall.ECONNREFUSED):
		return "Start Docker; if it runs, mount its present socket: docker compose up -d --force-recreate caddy."
	case errors.Is(err, context.DeadlineExceeded):
		return "Look whether `docker ps` answers on the host, and restart Docker if it does not."
	default:
		return "See that Docker's API, or its proxy, listens there, or correct the option host of docker in the config."
	}
}

// lookContainer finds the registry's container as registry_proxy does: the
// patient's upstream.
func lookContainer(ctx context.Context, p *patient) Finding {
	u, err := p.upstreams()
	if err != nil {
		return hangsOn("docker")
	}
	found, err := u.Find(ctx)
	if err != nil {
		return hangsOn("docker")
	}
	finding, upstream := judgeContainers(found)
	p.upstream = upstream
	return finding
}

// judgeContainers returns the address to use, "host:port", as far as there is one
// without a known fault.
func judgeContainers(found docker.Found) (finding Finding, upstream string) {
	if len(found.Containers) == 0 {
		return wrong("Start it (docker compose up -d registry), with the label or the name that the block docker of the config demands.",
			found.Why), ""
	}
	var seen []string
	used := 0
	for i := range found.Containers {
		c := &found.Containers[i]
		seen = append(seen, describeContainer(c))
		if c.Problem == "" && !c.Unhealthy {
			if used++; used == 1 {
				upstream = c.Addr.String()
			}
		}
	}
	switch {
	case used == 0:
		return wrong(adviseContainer(&found.Containers[0]), seen...), ""
	case used > 1:
		seen = append(seen, fmt.Sprintf("requests go to any of these %d: they must share their storage", used))
	}
	return ok(seen...), upstream
}

func describeContainer(c *docker.FoundContainer) string {
	switch {
	case c.Problem != "":
		return c.Name + " " + c.Problem
	case c.Unhealthy:
		return c.Name + " runs, but Docker's health check calls it unhealthy"
	default:
		return fmt.Sprintf("%s runs, at %s in the network %s", c.Name, c.Addr, c.Network)
	}
}

// adviseContainer says what to do about one that can't be used.
func adviseContainer(c *docker.FoundContainer) string {
	switch {
	case c.Unhealthy && c.Problem == "", c.State == "restarting":
		return "Read why: docker logs " + c.Name + "."
	case c.State == "running":
		return "Correct the option network of docker in the config, or the container's networks (docker inspect " + c.Name + ")."
	case c.State == "paused":
		return "Let it go on: docker unpause " + c.Name + "."
	default:
		return "Start it: docker start " + c.Name + "; if it stops again, docker logs " + c.Name + " says why."
	}
}
