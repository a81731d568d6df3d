package squidconf

import (
	"bytes"
	"encoding/pem"
	"fmt"
	"path"
	"slices"
	"strings"

	"sigs.k8s.io/yaml"
)

// keyPair puts certificates and a key into a Secret, from two files or one, and returns its name. ok is false, with
// the line refused, if there is no such key pair in them: the name is then that of a Secret which somebody must
// make.
func (c *converter) keyPair(cert, key string) (name string, ok bool) {
	name, is := c.name("Secret", nameOf(cert), cert, key)
	if is {
		return name, true
	}
	fix := fmt.Sprintf("Make Secret %s/%s of type kubernetes.io/tls yourself, or run the import as somebody who may read the files.", c.opts.Namespace, name)
	certs, ok1 := c.blocks(cert, fix, "CERTIFICATE")
	keys, ok2 := c.blocks(key, fix, "PRIVATE KEY")
	if !ok1 || !ok2 {
		return name, false
	}
	c.write("Secret", name, "kubernetes.io/tls", map[string]string{"tls.crt": certs, "tls.key": keys})
	return name, true
}

// bundle puts certificates of CAs into a ConfigMap and returns its name.
func (c *converter) bundle(file string) string {
	name, is := c.name("ConfigMap", nameOf(file), file)
	if is {
		return name
	}
	if certs, ok := c.blocks(file, fmt.Sprintf("Make ConfigMap %s/%s with the entry ca.crt yourself, or run the import where the file can be read.", c.opts.Namespace, name), "CERTIFICATE"); ok {
		c.write("ConfigMap", name, "", map[string]string{"ca.crt": certs})
	}
	return name
}

// blocks returns the PEM blocks of a file whose type ends in kind. ok is false, with the line refused, if there are
// none.
func (c *converter) blocks(file, fix, kind string) (text string, ok bool) {
	b, err := c.read(file)
	if err != nil {
		c.refuse(fix, "%s cannot be read: %v", file, err)
		return "", false
	}
	var out bytes.Buffer
	for block, rest := pem.Decode(b); block != nil; block, rest = pem.Decode(rest) {
		if !strings.HasSuffix(block.Type, kind) {
			continue
		}
		if block.Type == "ENCRYPTED PRIVATE KEY" || block.Headers["DEK-Info"] != "" {
			c.refuse("Take the password off, with openssl pkey -in "+file+", into a file that only the import reads.", "the key in %s is encrypted", file)
			return "", false
		}
		block.Headers = nil
		if pem.Encode(&out, block) != nil {
			break
		}
	}
	if out.Len() == 0 {
		c.refuse("Name a file in PEM.", "%s holds no %s", file, kind)
		return "", false
	}
	return out.String(), true
}

// name returns the name of the object that is made of files; is says that it is there already. Different files of
// one name get different objects.
func (c *converter) name(kind, name string, files ...string) (_ string, is bool) {
	key := kind + " " + strings.Join(files, " ")
	if n := c.objects[key]; n != "" {
		return n, true
	}
	if name == "" {
		name = "file"
	}
	taken := map[string]bool{}
	for k, n := range c.objects {
		taken[n] = taken[n] || strings.HasPrefix(k, kind+" ")
	}
	name = c.unique(name, taken)
	c.objects[key] = name
	return name, false
}

// write adds an object.
func (c *converter) write(kind, name, kindOfSecret string, entries map[string]string) {
	doc := map[string]any{"apiVersion": "v1", "kind": kind, "metadata": map[string]any{"name": name, "namespace": c.opts.Namespace}}
	if kind == "Secret" {
		doc["stringData"] = entries
	} else {
		doc["data"] = entries
	}
	if kindOfSecret != "" {
		doc["type"] = kindOfSecret
	}
	b, err := yaml.Marshal(doc)
	if err != nil {
		c.refuse("Make the object yourself.", "%s %s cannot be written: %v", kind, name, err)
		return
	}
	c.result.extra = append(c.result.extra, string(b))
}

// nameOf makes an object's name of a file's.
func nameOf(file string) string {
	base := path.Base(file)
	return objectName(strings.TrimSuffix(base, path.Ext(base)))
}

// shortened cuts a name at Kubernetes' bound.
func shortened(name string) string {
	return strings.TrimRight(name[:min(len(name), 63)], "-.")
}

// isAll reports whether words are "allow|deny all".
func isAll(words []string, action string) bool {
	return len(words) > 0 && words[0] == action && (len(words) == 1 || slices.Equal(words[1:], []string{"all"}))
}
