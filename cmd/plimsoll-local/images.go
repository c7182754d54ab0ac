package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/plimsoll/plimsoll/pkg/image"
	"github.com/plimsoll/plimsoll/pkg/localcluster"
)

func newLoad(dir *string) *cobra.Command {
	return &cobra.Command{
		Use:   "load IMAGE.tar...",
		Short: "Load OCI archives, so that pods can use their images",
		Args:  cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return load(cmd.Context(), *dir, args)
		},
	}
}

func load(ctx context.Context, dir string, archives []string) error {
	c, err := localcluster.Open(dir)
	if err != nil {
		return err
	}
	_, err = c.Load(ctx, os.Stderr, archives...)
	return err
}

func newBuild() *cobra.Command {
	var binDir string
	cmd := &cobra.Command{
		Use:   "build [PART...]",
		Short: "Build the cluster's parts from the source tree (all, or the named ones)",
		RunE: func(cmd *cobra.Command, args []string) error {
			source, bin, err := sourceAndBin(binDir)
			if err != nil {
				return err
			}
			return localcluster.Build(cmd.Context(), source, bin, args, os.Stderr)
		},
	}
	cmd.Flags().StringVar(&binDir, "bin-dir", "", "where the binaries go (default: bin in the source tree)")
	return cmd
}

func sourceAndBin(binDir string) (source, bin string, err error) {
	wd, err := os.Getwd()
	if err != nil {
		return "", "", fmt.Errorf("finding the working directory: %w", err)
	}
	exe, err := os.Executable()
	if err != nil {
		return "", "", fmt.Errorf("finding the running executable: %w", err)
	}
	source = localcluster.FindSource(wd, filepath.Dir(exe))
	if source == "" {
		return "", "", errors.New("this is not the source tree: run it there")
	}
	if binDir == "" {
		return source, filepath.Join(source, "bin"), nil
	}
	bin, err = filepath.Abs(binDir)
	if err != nil {
		return "", "", fmt.Errorf("making %s absolute: %w", binDir, err)
	}
	return source, bin, nil
}

func newImage(dir *string) *cobra.Command {
	var spec image.Spec
	var out, binDir string
	var all, doLoad bool
	cmd := &cobra.Command{
		Use:   "image [-t REF -o OUT.tar BINARY | --all NAME...]",
		Short: "Make OCI archives of static binaries, and load them with --load",
		Example: `  plimsoll-local image -t localhost/tools/probe:dev -o probe.tar ./probe
  plimsoll-local image --all --load`,
		RunE: func(cmd *cobra.Command, args []string) error {
			archives := []string{out}
			switch {
			case all, len(args) == 0 && spec.Ref == "":
				source, bin, err := sourceAndBin(binDir)
				if err != nil {
					return err
				}
				if out == "" {
					out = filepath.Join(bin, "images")
				}
				if archives, err = localcluster.BuildImages(cmd.Context(), source, out, args, os.Stderr); err != nil {
					return err
				}
			case len(args) != 1 || spec.Ref == "" || out == "":
				return errors.New("say what to make: -t REF -o OUT.tar BINARY, or --all")
			default:
				spec.Binary = args[0]
				if err := image.WriteFile(out, spec); err != nil {
					return err
				}
			}
			if doLoad {
				return load(cmd.Context(), *dir, archives)
			}
			fmt.Fprintln(cmd.OutOrStdout(), strings.Join(archives, "\n"))
			return nil
		},
	}
	f := cmd.Flags()
	f.StringVarP(&spec.Ref, "tag", "t", "", "the image's name, like localhost/name:dev")
	f.StringVarP(&out, "output", "o", "", "the archive; with --all the folder for them (default: bin/images)")
	f.StringVar(&spec.User, "user", "", "uid or uid:gid to run as (default: root)")
	f.BoolVar(&all, "all", false, "build this project's binaries and make all their images, or the named ones (the default)")
	f.BoolVar(&doLoad, "load", false, "load what was made into the cluster")
	f.StringVar(&binDir, "bin-dir", "", "with --all, the folder whose images folder is the default output")
	return cmd
}
