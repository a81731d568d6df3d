package diag

// Files and syntax (50xx).
const (
	FileUnreadable    Code = 5001
	YAMLSyntax        Code = 5002
	UnknownField      Code = 5003
	WrongType         Code = 5004
	UnknownEnum       Code = 5005
	UnknownKind       Code = 5006
	MissingField      Code = 5007
	FlatDocument      Code = 5008
	DuplicateObject   Code = 5009
	IgnoredKind       Code = 5010
	UnknownVersion    Code = 5011
	BadValue          Code = 5012
	DuplicateKey      Code = 5013
	EmptyFolder       Code = 5014
	KindWithoutEffect Code = 5015
	PolicyNotEnforced Code = 5016
	KindMisspelt      Code = 5017
)

func fileCodes() []Entry {
	return []Entry{
		{FileUnreadable, "file_unreadable", Error, "file cannot be read",
			"The operating system refused to read a file or folder of the configuration.", "Check path and permissions.", 0},
		{YAMLSyntax, "yaml_syntax", Error, "YAML or JSON syntax",
			"The document is not valid YAML; the other documents of the file are used.", "Mend the line named.", 0},
		{UnknownField, "unknown_field", Error, "unknown field",
			"The kind has no field of this name, so the object was left out rather than half understood.", "Correct the spelling, or remove the field.", 0},
		{WrongType, "wrong_type", Error, "field has the wrong type",
			"The value cannot be read as the field's type.", "Write the value as the field's type asks.", 0},
		{UnknownEnum, "unknown_enum", Error, "value is not one of those allowed",
			"The field allows a fixed list of values.", "Use one of the values named.", 0},
		{UnknownKind, "unknown_kind", Warning, "kind is not known",
			"Hakone does not know this kind; it has no effect.", "Remove it, or correct apiVersion and kind.", 0},
		{MissingField, "missing_field", Error, "required field is missing",
			"The object cannot be used without the field.", "Add the field.", 0},
		{FlatDocument, "flat_document", Error, "document lost its indentation",
			"Fields that belong under metadata or spec stand at the left margin, as happens when YAML is copied from a web page.", "Restore the indentation.", 0},
		{DuplicateObject, "duplicate_object", Error, "object is defined twice",
			"Two documents define the same kind, namespace and name; the first (by file path, then place in the file) is used.", "Remove one of them.", 0},
		{IgnoredKind, "ignored_kind", Info, "kind is not for a gateway",
			"Workload objects beside the gateway's configuration are read over.", "Nothing to do.", 0},
		{UnknownVersion, "unknown_version", Error, "API version is not known",
			"Hakone knows the kind, but not in this version.", "Use a version named in the message.", 0},
		{BadValue, "bad_value", Error, "value cannot be used",
			"The value is of the right type but breaks the field's rules.", "Write the value as the message asks.", 0},
		{DuplicateKey, "duplicate_key", Error, "key stands twice in one mapping",
			"YAML forbids a key twice; readers disagree on which one wins.", "Remove one of them.", 0},
		{EmptyFolder, "empty_folder", Warning, "no configuration in the folder",
			"The folder holds no .yaml, .yml or .json document.", "Check --config.", 0},
		{KindWithoutEffect, "kind_without_effect", Warning, "kind has no effect yet",
			"The kind is known, but this version of Hakone does nothing with it.", "Do not rely on the object; see the README's table of kinds.", 0},
		{KindMisspelt, "kind_misspelt", Error, "kind is misspelt or in the wrong group",
			"The kind is not known in its API group, but one with nearly this name, or of this name in another group, is (or the group is hakone.dev, of which every kind is known): the object was meant to have an effect and has none.", "Correct apiVersion and kind as the message says.", 0},
		{PolicyNotEnforced, "policy_not_enforced", Error, "policy is not enforced",
			"The policy would deny or verify traffic, and this version of Hakone does not enforce it. Backends that a BackendTLSPolicy targets are refused (503) rather than sent to in plaintext; for the other kinds traffic passes as if the policy were not there.",
			"Say the same with what is enforced (client certificates, DestinationRule tls), or put the enforcement elsewhere and move the policy out of what Hakone reads.", 503},
	}
}

// References (51xx).
const (
	RefNotFound        Code = 5101
	RefNotPermitted    Code = 5102
	RefKindInvalid     Code = 5103
	SecretNotFound     Code = 5104
	SecretInvalid      Code = 5105
	ServiceNotFound    Code = 5106
	ServicePortMissing Code = 5107
	GatewayNotFound    Code = 5108
	CANotFound         Code = 5109
	CAInvalid          Code = 5110
)

func referenceCodes() []Entry {
	return []Entry{
		{RefNotFound, "ref_not_found", Error, "referenced object does not exist", "A reference names an object that is not in the configuration.", "Create the object, or correct the reference.", 500},
		{RefNotPermitted, "ref_not_permitted", Error, "reference into another namespace is not permitted", "Gateway API asks for a ReferenceGrant in the target's namespace.", "Create the ReferenceGrant named in the message.", 500},
		{RefKindInvalid, "ref_kind_invalid", Error, "reference to a kind that cannot be used here", "The field cannot refer to this kind.", "Refer to a kind named in the message.", 500},
		{SecretNotFound, "secret_not_found", Error, "secret does not exist", "No secret of this name is in the gateway's namespace nor in the object's own; the hosts that need it refuse handshakes (HK2302).", "Create the secret: kubectl create -n NAMESPACE secret tls NAME --key KEY --cert CERT --dry-run=client -o yaml.", 0},
		{SecretInvalid, "secret_invalid", Error, "secret cannot be used", "The secret lacks keys, or its certificate and key do not fit; only the hosts that use it are affected.", "Mend the secret as the message says.", 0},
		{ServiceNotFound, "service_not_found", Error, "service does not exist", "The destination is no Service, ServiceEntry or --endpoint of this configuration.", "Create it, or correct the name.", 500},
		{ServicePortMissing, "service_port_missing", Error, "service has no such port", "The destination's port is not among the service's ports.", "Use one of the ports named in the message.", 500},
		{GatewayNotFound, "gateway_not_found", Error, "gateway does not exist", "The route is bound to a Gateway that is not in the configuration.", "Create the Gateway, or correct the name.", 0},
		{CANotFound, "ca_not_found", Error, "CA bundle does not exist", "Client certificates are demanded, but no CA is there to verify them; the host refuses every client (HK2303).", "Add ca.crt (or cacert) to the secret, or a secret NAME-cacert; for our own authority hakone ca show --bundle -o configmap --config-map NAME writes the object.", 0},
		{CAInvalid, "ca_invalid", Error, "CA bundle cannot be used", "The bundle holds no usable certificate.", "Put PEM certificates into the bundle.", 0},
	}
}
