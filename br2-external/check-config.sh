#!/bin/sh
# check-config.sh DEFCONFIG DOTCONFIG [FOLDER...]: compare the symbols of a defconfig with .config
#
# Kconfig silently drops unknown symbols and those with an unmet dependency, and the image then
# lacks a program that was asked for. Prints each difference with the line that asked; the comment
# "# from FILE:LINE" above a symbol says where the variant's file asks for it. With the folders of
# the Config.in files it tells an unknown symbol from one with an unmet dependency.
# Exit: 0 no difference, 1 differences, 2 a file cannot be read.
set -eu

usage="usage: check-config.sh DEFCONFIG DOTCONFIG [FOLDER...]"
defconfig=${1:?$usage}
dotconfig=${2:?$usage}
shift 2
for file in "$defconfig" "$dotconfig"; do
	[ -r "$file" ] || {
		echo "check-config: could not read $file" >&2
		exit 2
	}
done

# unmet FILE NAME: the dependencies of NAME in FILE that DOTCONFIG does not meet. Only dependencies
# joined by "&&" are parsed; others are printed as they are written.
unmet() {
	awk -v wanted="$2" '
	function add(what) { found = found (found == "" ? "" : ", ") what }
	FNR == NR { if (/^BR2_[A-Za-z0-9_]+=y$/) on[substr($0, 1, index($0, "=") - 1)] = 1; next }
	/^(menu)?config / { inside = $2 == wanted; next }
	/^(comment|if|endif|menu|endmenu|choice|endchoice|source)( |$)/ { inside = 0 }
	!inside { next }
	{
		sub(/[ \t]#.*/, "")
		gsub(/[ \t]+/, " ")
		text = text $0
	}
	/\\$/ { sub(/ *\\$/, "", text); next }
	{
		if (sub(/^ *depends on /, "", text)) {
			if (text ~ /[|][|]/)
				add(text)
			else {
				count = split(text, words, /[ &()]+/)
				for (i = 1; i <= count; i++) {
					negated = words[i] ~ /^!/
					name = substr(words[i], 1 + negated)
					if (name ~ /^BR2_/ && (name in on) == negated)
						add(words[i])
				}
			}
		}
		text = ""
	}
	END { print found }
	' "$dotconfig" "$1"
}

# why NAME FOLDER...: the sentence that follows "is absent".
why() {
	name=$1
	shift
	[ $# -gt 0 ] || {
		echo "(no such symbol, or a dependency is missing)"
		return
	}
	file=$(grep -rlxE "(menu)?config $name" --include='Config.in*' "$@" | head -n 1)
	if [ -z "$file" ]; then
		echo "(Buildroot has no such symbol)"
		return
	fi
	needs=$(unmet "$file" "$name")
	echo "(it depends on ${needs:-what is not set}, see $file)"
}

differences=$(awk -v defconfig="$defconfig" '
function symbol(line) {
	if (line ~ /^BR2_[A-Za-z0-9_]+=/) {
		name = substr(line, 1, index(line, "=") - 1)
		value = substr(line, index(line, "=") + 1)
		return 1
	}
	if (line ~ /^# BR2_[A-Za-z0-9_]+ is not set$/) {
		split(line, words, " ")
		name = words[2]
		value = "n"
		return 1
	}
	return 0
}
FILENAME == defconfig && FNR == 1 { asking = 1 }
FILENAME != defconfig { asking = 0 }
!asking { if (symbol($0)) actual[name] = value; next }
/^# from / { origin = substr($0, 8); next }
symbol($0) {
	wanted[name] = value
	where[name] = origin != "" ? origin : defconfig ":" FNR
	order[++count] = name
}
{ origin = "" }
END {
	for (i = 1; i <= count; i++) {
		name = order[i]
		is = name in actual ? actual[name] : "n"
		if (is != wanted[name]) {
			if (!(name in actual))
				is = "absent"
			printf "%s\t%s: %s was asked to be %s, is %s\n", name, where[name], name, wanted[name], is
		}
	}
}
' "$defconfig" "$dotconfig")
[ -n "$differences" ] || exit 0
tab=$(printf '\t')
echo "$differences" | while IFS=$tab read -r name message; do
	case $message in
	*", is absent") echo "$message $(why "$name" "$@")" ;;
	*) echo "$message" ;;
	esac
done
exit 1
