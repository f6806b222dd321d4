-- Quarto's numbered divs, equations, references and callouts as what pandoc writes by itself.
-- Typst numbers and resolves on its own; for HTML and Word the numbers are counted here.

local names = {fig = "Figure", tbl = "Table", eq = "Equation", sec = "Section"}
local counts, levels, numbers = {fig = 0, tbl = 0, eq = 0}, {}, {}
local typst, word = FORMAT == "typst", FORMAT == "docx"

local function raw(text) return pandoc.RawInline("typst", text) end

local function kind(label)
  local prefix = label:match("^(%a+)%-")
  return names[prefix] and prefix
end

local function count(label)
  counts[kind(label)] = counts[kind(label)] + 1
  numbers[label] = tostring(counts[kind(label)])
end

-- The label that stands right after a displayed formula; elsewhere the same signs are text.
local function equation_label(inlines, i)
  local inline, before = inlines[i], inlines[i - 1]
  if before and (before.t == "Space" or before.t == "SoftBreak") then before = inlines[i - 2] end
  if inline.t ~= "Str" or not before or before.t ~= "Math" then return nil end
  return before.mathtype == "DisplayMath" and inline.text:match("^{#(eq%-[%w-]+)}$")
end

local number = {
  Header = function(header)
    if header.classes:includes("unnumbered") then return end
    for level = 1, header.level do
      levels[level] = (levels[level] or 0) + (level == header.level and 1 or 0)
    end
    for level = header.level + 1, #levels do levels[level] = nil end
    numbers[header.identifier] = table.concat(levels, ".")
  end,
  Div = function(div)
    if kind(div.identifier) then count(div.identifier) end
  end,
  Inlines = function(inlines)
    for i = 1, #inlines do
      local label = equation_label(inlines, i)
      if label then count(label) end
    end
  end,
}

-- The label of a caption: "Figure 1: ".
local function labeled(div, caption)
  local text = names[kind(div.identifier)] .. "\u{a0}" .. numbers[div.identifier] .. ":"
  return pandoc.Inlines({pandoc.Str(text), pandoc.Space()}) .. caption.content
end

-- As Quarto writes it: the caption above a table and below a figure, each in a box of its own.
local function html_float(div, caption)
  local prefix, id = kind(div.identifier), div.identifier .. "-caption"
  local class = "quarto-float-" .. prefix
  local captioned = pandoc.Blocks({
    pandoc.RawBlock("html", '<figcaption class="quarto-float-caption ' .. class .. '" id="' .. id .. '">'),
    pandoc.Plain(labeled(div, caption)), pandoc.RawBlock("html", "</figcaption>"),
  })
  local content = pandoc.Blocks({pandoc.Div(div.content, {["aria-describedby"] = id})})
  local blocks = prefix == "tbl" and captioned .. content or content .. captioned
  blocks:insert(1, pandoc.RawBlock("html", '<figure class="quarto-float ' .. class .. '">'))
  blocks:insert(pandoc.RawBlock("html", "</figure>"))
  return pandoc.Div(blocks, pandoc.Attr(div.identifier))
end

local function with_number(div)
  local caption = div.content:remove()
  local tbl = div.content[1]
  if kind(div.identifier) == "tbl" and (#div.content ~= 1 or tbl.t ~= "Table") then
    error(div.identifier .. " is not one table and its caption")
  end
  if not typst and not word then return html_float(div, caption) end
  local long = {pandoc.Plain(word and labeled(div, caption) or caption.content)}
  if kind(div.identifier) == "fig" then
    return pandoc.Figure(div.content, {long = long}, pandoc.Attr(div.identifier))
  end
  tbl.caption = {long = long}
  if word then return pandoc.Div({tbl}, pandoc.Attr(div.identifier)) end
  tbl.identifier = div.identifier
  return tbl
end

local function callout(div, name)
  local title = div.attributes.title or name:gsub("^%l", string.upper)
  if typst then
    return pandoc.Blocks({pandoc.RawBlock("typst", "#callout[" .. title .. "][")})
      .. div.content .. {pandoc.RawBlock("typst", "]")}
  end
  div.content:insert(1, pandoc.Para(pandoc.Strong(title)))
  if word then return pandoc.BlockQuote(div.content) end
  return pandoc.Div(div.content, {class = "callout " .. name})
end

-- Quarto's conditional content: a block that one format alone has, or lacks.
local function conditional(block)
  local visible = block.classes:includes("content-visible")
  if not visible and not block.classes:includes("content-hidden") then return end
  local here = (FORMAT:match("^html") and "html" or FORMAT) == block.attributes["when-format"]
  return here == visible and block.content or {}
end

local write = {
  Div = function(div)
    if kind(div.identifier) then return with_number(div) end
    for _, class in ipairs(div.classes) do
      local name = class:match("^callout%-(%a+)$")
      if name then return callout(div, name) end
    end
  end,
  Inlines = function(inlines)
    local out = pandoc.Inlines({})
    for i, inline in ipairs(inlines) do
      local label = equation_label(inlines, i)
      if label then
        while out[#out].t ~= "Math" do out:remove() end
        local maths = out:remove()
        if typst then
          out:extend({raw('#math.equation(block: true, numbering: "(1)", ['), maths,
                      raw("]) <" .. label .. ">")})
        else
          maths.text = maths.text .. " \\qquad(" .. numbers[label] .. ")"
          out:insert(pandoc.Span({maths}, pandoc.Attr(label)))
        end
      else
        out:insert(inline)
      end
    end
    return out
  end,
  Cite = function(cite)
    if not kind(cite.citations[1].id) then return end
    local out = pandoc.Inlines({})
    for i, citation in ipairs(cite.citations) do
      local label, bare = citation.id, citation.mode == "SuppressAuthor"
      if i > 1 then out:extend({pandoc.Str(","), pandoc.Space()}) end
      if typst then
        out:insert(raw("#ref(<" .. label .. ">" .. (bare and ", supplement: none)" or ")")))
      else
        local name = (bare and "" or names[kind(label)] .. "\u{a0}") .. numbers[label]
        out:insert(pandoc.Link(name, "#" .. label))
      end
    end
    return out
  end,
  Image = function(image)
    image.attributes.alt, image.attributes["fig-alt"] = image.attributes["fig-alt"], nil
    if word then
      image.src = image.src:gsub("%.svg$", ".png")
      image.caption = pandoc.Inlines(image.attributes.alt or {})
    end
    return image
  end,
}

return {{Div = conditional, Span = conditional}, number, write}
