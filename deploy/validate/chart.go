package main

import (
	"errors"
	"fmt"
	"path"

	"helm.sh/helm/v3/pkg/chart"
	"helm.sh/helm/v3/pkg/chart/loader"
	"helm.sh/helm/v3/pkg/chartutil"
	"helm.sh/helm/v3/pkg/engine"
	"helm.sh/helm/v3/pkg/lint"
	"helm.sh/helm/v3/pkg/lint/support"
	"helm.sh/helm/v3/pkg/releaseutil"
	"helm.sh/helm/v3/pkg/strvals"
)

// lintChart is `helm lint --strict`: warnings count.
func lintChart(folder, version, namespace string, set []string) error {
	values, kube, err := settings(version, set)
	if err != nil {
		return err
	}
	linter := lint.AllWithKubeVersion(folder, values, namespace, kube)
	var wrong []error
	for _, message := range linter.Messages {
		if message.Severity >= support.WarningSev {
			wrong = append(wrong, message)
		}
	}
	return errors.Join(wrong...)
}

// template is `helm template`.
func template(folder, version, release, namespace string, set []string) error {
	values, kube, err := settings(version, set)
	if err != nil {
		return err
	}
	loaded, err := loader.Load(folder)
	if err != nil {
		return err
	}
	options := chartutil.ReleaseOptions{Name: release, Namespace: namespace, Revision: 1, IsInstall: true}
	manifests, err := render(loaded, values, kube, options)
	if err != nil {
		return fmt.Errorf("%s: %w", folder, err)
	}
	for _, manifest := range manifests {
		fmt.Printf("---\n# Source: %s\n%s\n", manifest.Name, manifest.Content)
	}
	return nil
}

func render(
	loaded *chart.Chart, values map[string]any, kube *chartutil.KubeVersion, options chartutil.ReleaseOptions,
) ([]releaseutil.Manifest, error) {
	capabilities := chartutil.DefaultCapabilities.Copy()
	capabilities.KubeVersion = *kube
	all, err := chartutil.ToRenderValues(loaded, values, options, capabilities)
	if err != nil {
		return nil, err
	}
	files, err := engine.Engine{Strict: true}.Render(loaded, all)
	if err != nil {
		return nil, err
	}
	for name := range files {
		if path.Base(name) == "NOTES.txt" {
			delete(files, name)
		}
	}
	hooks, manifests, err := releaseutil.SortManifests(files, capabilities.APIVersions, releaseutil.InstallOrder)
	if err == nil && len(hooks) > 0 {
		err = errors.New("the chart has hooks, which this does not print")
	}
	return manifests, err
}

// settings reads what `--set` and `--kube-version` take.
func settings(version string, set []string) (map[string]any, *chartutil.KubeVersion, error) {
	values := map[string]any{}
	for _, pair := range set {
		if err := strvals.ParseInto(pair, values); err != nil {
			return nil, nil, fmt.Errorf("%s: %w", pair, err)
		}
	}
	kube, err := chartutil.ParseKubeVersion(version)
	return values, kube, err
}
